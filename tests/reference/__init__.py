"""Stored results of the package, which no change of its structure may move."""
