"""Tables as Markdown."""

import numpy as np
import xarray as xr

from precise_lib import show


def test_texts_and_counts_stay_and_other_numbers_are_formatted():
    found = show.table(
        ["", "n", "value", "none"], [["fit", np.int64(3), np.float32(0.126)], ["x", xr.DataArray(2), xr.DataArray(1.0)]]
    )
    assert found == "|  | n | value | none |\n| --- | --- | --- | --- |\n| fit | 3 | 0.13 |  |\n| x | 2 | 1.00 |  |"
    assert found._repr_markdown_() == found
