"""Peers of PRECISE: what a reader would try before it."""
