"""Simulate, quantify and judge MR spectroscopic imaging with deep learning and an MRI prior.

Data walks one way: :mod:`precise_lib.simulate` -> :mod:`precise_lib.estimate` -> :mod:`precise_lib.evaluate`
-> plots, notebooks and maps. Importing the package itself is cheap: nothing is loaded until it is asked for.
"""

__version__ = "0.1.0"
NOTICE = "Research software: not a medical device, not for clinical use."
