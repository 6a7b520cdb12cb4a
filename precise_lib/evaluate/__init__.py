"""Evaluation: bounds, Monte Carlo, closed-form errors, conformance, claims."""
