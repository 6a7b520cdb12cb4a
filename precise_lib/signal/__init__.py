"""The signal: acquisition and resonances (Eqs 1 and 2 of PRECISE-DMI), what of them can be known, measured grids."""
