"""The study of the adaptive prior, at a few repeats."""

from precise_lib.studies.overruled import study
from precise_lib.studies.peer_cases import rings_case


def test_rings_keep_the_hidden_tumor_at_a_fraction_of_the_error():
    table = study(rings_case(), 3)
    mean = table.mean("repeat")
    assert (mean["rmse"] < 0.3 * mean["rmse_single"]).all()
    kept = (mean["kept"] / mean["kept_single"]).sel(metabolite="Lac")
    assert (kept > 0.95).all()
    assert table["found"].all()
    assert (mean["covered"].sel(region="object") > 0.8).all()
