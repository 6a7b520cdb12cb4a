"""Simulation: phantoms, field maps, encoding, heads. Nothing here knows an estimator."""
