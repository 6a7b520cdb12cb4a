"""Notebooks run with other parameters: one, or a table of them."""
