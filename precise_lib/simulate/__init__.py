"""Simulation: signal models, phantoms, field maps. Nothing here knows an estimator."""
