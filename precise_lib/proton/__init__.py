r"""Proton spectra: the simulation, networks, fit and scores of the second paper, *Miracle or mirage?*"""
