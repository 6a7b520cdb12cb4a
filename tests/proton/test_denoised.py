"""Concentrations from denoised spectra: denoisers whose result is known beforehand, and both shipped networks."""

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.evaluate import regression
from precise_lib.proton import brain, denoised, scores
from precise_lib.proton.brain import MAXIMUM_MM, METABOLITES
from precise_lib.proton.weights import Denoiser

NETWORKS = {"1D": "unet1d_small", "2D": "unet2d_small"}
STRONG = ["NAA", "tCr", "tCho"]  # squared correlation with the truth above 0.94 in fits of the noisy spectra, too
WEAK = ["sI", "Gly", "Lac", "GABA", "Tau", "Glc", "GSH", "PE"]
MAXIMUM = np.array(list(MAXIMUM_MM.values()))


class Stub:
    """A denoiser that is a function of the spectra at all points."""

    def __init__(self, function, points=slice(None)):
        self.function, self.points = function, points

    def denoise(self, fids):
        return self.function(np.fft.fft(np.asarray(fids).astype(complex)))[:, self.points]


def test_a_denoiser_that_does_nothing_changes_nothing():
    data, identity = brain.draw(12, 31), Stub(lambda s: s)
    q = denoised.quantified(data, {"whole": identity, "window": Stub(identity.function, brain.WINDOW)})
    assert dict(q.sizes) == {"source": 3, "spectrum": 12, "metabolite": 16}
    for label in ("whole", "window"):
        np.testing.assert_array_equal(q.estimate.sel(source=label), q.estimate.sel(source="noisy"))
    assert (q.estimate >= 0).all()
    np.testing.assert_array_equal(q.truth, data.concentration)


def test_a_perfect_denoiser_gives_the_truth():
    data = brain.draw(12, 32)
    clean = np.fft.fft(data.clean.values.astype(complex))
    q = denoised.quantified(data, {"perfect": Stub(lambda _: clean)}).sel(source="perfect")
    assert (np.abs(q.estimate - q.truth) < 1e-3 * MAXIMUM).all()
    assert (q.crlb < 1e-3 * MAXIMUM).all()  # a residual without noise: the fit believes that it is exact


def test_a_sign_is_allowed_on_demand():
    data = brain.draw(24, 33, snr=(5, 6))
    free, bounded = (denoised.quantified(data, {}, non_negative=b).estimate for b in (False, True))
    assert (free < 0).any()
    assert (bounded >= 0).all()


def test_what_cannot_be_compared_is_refused():
    data = brain.draw(2, 34)
    with pytest.raises(InputError, match="another label"):
        denoised.quantified(data, {"noisy": Stub(lambda s: s)})
    with pytest.raises(InputError, match="does not give all points"):
        denoised.quantified(data, {"less": Stub(lambda s: s, slice(-1000, None))})


# the direction of M5 and M6


def verdicts(q, label) -> dict[str, bool]:
    """What denoising does to the estimates according to the paper, one condition each."""
    before, after = (q.estimate.sel(source=m) for m in ("noisy", label))
    weak = [METABOLITES.index(m) for m in WEAK]
    lines = {m: regression.line(q.truth, e, METABOLITES, n_draws=2) for m, e in (("b", before), ("a", after))}
    change = scores.slope_change(q.truth, before, after, METABOLITES)
    above = [(e.values > MAXIMUM)[:, weak].sum() for e in (before, after)]
    return {
        "M5: most slopes fall": int((change.change_high < 0).sum()) >= 11,
        "M5: weak slopes fall far": float(change.change[weak].mean()) < -0.15,
        "strong slopes stay": bool((lines["a"].slope.sel(metabolite=STRONG) > 0.9).all()),
        "strong metabolites stay known": bool((lines["a"].r2.sel(metabolite=STRONG) > 0.9).all()),
        "M6: fewer overestimates": above[1] < above[0] / 2,
    }


@pytest.fixture(scope="module")
def quantified():
    data = brain.draw(160, 35)
    mean = np.fft.fft(data.clean.values.astype(complex)).mean(0)
    stubs = {"mean": Stub(lambda s: np.broadcast_to(mean, s.shape)), "half": Stub(lambda s: s / 2)}
    return denoised.quantified(data, {n: Denoiser.load(name) for n, name in NETWORKS.items()} | stubs)


@pytest.mark.parametrize("label", NETWORKS)
def test_networks_bend_weak_estimates_and_cut_overestimates(quantified, label):
    assert all(verdicts(quantified, label).values()), verdicts(quantified, label)


@pytest.mark.parametrize("label", ["noisy", "mean", "half"])
def test_what_does_nothing_or_destroys_does_not_pass_for_a_denoiser(quantified, label):
    assert not all(verdicts(quantified, label).values())


def test_doing_nothing_fails_each_condition_of_the_bias(quantified):
    found = verdicts(quantified, "noisy")
    assert not any(held for name, held in found.items() if name.startswith("M"))
