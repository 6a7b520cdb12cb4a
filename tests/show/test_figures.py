"""Each figure function: labels, units, and one color scale where maps are compared."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba

from precise_lib import show
from precise_lib.show import style
from precise_lib.signal.model import spectrum
from precise_lib.signal.presets import dmi_11t7
from precise_lib.simulate.phantoms import rings


@pytest.fixture(autouse=True)
def closed():
    with plt.rc_context():
        yield


def test_looks_are_told_apart():
    """No two methods that are compared on one page look the same in both color and marker."""
    compared = ["fourier", "fourier, zero-filled", "fit", "sve", "sve, paper's recipe", "precise", "precise-finetune"]
    compared += ["svd-fit", "mppca-fit", "fit-diffusion", "fit-guided"]
    looks = [(show.color(name), show.marker(name)) for name in compared]
    assert len(set(looks)) == len(looks)
    assert all(len(color) == 7 for color, _ in style.LOOKS.values())
    assert (show.color("unheard of"), show.marker("unheard of")) == (style.GRAY, "o")
    assert (show.color("unheard of", None), show.marker("unheard of", "s")) == (None, "s")


def test_the_style_is_opaque():
    show.use_style()
    assert plt.rcParams["savefig.facecolor"] == "white"


def test_a_map_lies_as_in_space():
    values = np.arange(6.0).reshape(2, 3)
    image = show.show_map(plt.subplots()[1], values)
    np.testing.assert_array_equal(image.get_array(), values.T)
    assert image.origin == "lower"


def test_maps_of_a_row_share_a_scale_with_a_unit():
    rng = np.random.default_rng(0)
    truth, noisy = rng.random((4, 5)), 3 * rng.random((4, 5))
    figure = show.map_rows({"Glc": [truth, noisy], "SD": [None, noisy]}, ["truth", "sve"], limits={"SD": (0, 2)})
    images = [image for ax in figure.axes for image in ax.images]
    assert len({image.get_clim() for image in images[:2]}) == 1
    assert images[-1].get_clim() == (0, 2)
    low, high = images[0].get_clim()
    assert (low, high) == tuple(np.percentile(np.r_[truth.ravel(), noisy.ravel()], [1, 99]))
    assert [ax.get_title() for ax in figure.axes[:2]] == ["truth", "sve"]
    assert [ax.get_ylabel() for ax in figure.axes if ax.get_ylabel()] == ["Glc", "SD", "mM", "mM"]


def test_bars_of_gains_join_and_say_their_factor():
    ax = show.gains(plt.subplots()[1], {"Fourier": 1.0, "window": 1.5, "fit": 1.8}, "gain")
    spans = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches]
    np.testing.assert_allclose(spans, [(1, 1), (1, 1.5), (1.5, 1.8)])
    assert [text.get_text() for text in ax.texts] == ["Fourier", "window", "× 1.50", "fit", "× 1.20 = 1.80"]
    steps = {"Fourier": 1.0, "fit": np.float64(1.8), "CNN": np.float64(1.6), "prior": 2.0}  # as NumPy gives them
    ax = show.gains(plt.subplots()[1], steps, "gain")
    colors = [bar.get_facecolor() for bar in ax.patches]
    assert colors[2] == to_rgba("0.6")  # what is lost
    assert to_rgba("0.6") not in (colors[1], colors[3])


def test_the_phantom_is_drawn_with_its_sites():
    figure = show.plot_phantom(rings())
    titles = [ax.get_title() for ax in figure.axes[:5]]
    assert titles[1:] == ["MRI (gray level)", "Glc, truth", "Glx, truth", "Lac, truth"]
    assert {text.get_text() for text in figure.axes[0].texts} == set(rings().tumors)


def test_spectra_run_from_high_to_low_shift():
    model = dmi_11t7()
    values = spectrum(model.fids([[1.0, 0.3, 0.6, 0.1]])[0])
    ax = show.plot_spectra(plt.subplots()[1], model, {"fit": values, "truth": (values, np.ones(len(values)))})
    left, right = ax.get_xlim()
    assert left > right
    assert ax.get_xlabel() == "chemical shift (ppm)"
    assert [text.get_text() for text in ax.texts] == list(model.names)
    ppm = show.ppm_axis(model)
    assert ppm[np.abs(values).argmax()] == pytest.approx(model.resonances[0].ppm, abs=0.1)
    assert ax.lines[0].get_color() == show.color("fit")


def test_curves_have_the_colors_of_their_methods():
    ax = plt.subplots()[1]
    x, y = np.array([5.0, 10.0]), np.array([20.0, 10.0])
    show.plot_curves(ax, {"bound": (x, y), "sve": (x, y)}, "SNR", "SD (%)", {"sve": (y - 1, y + 1)})
    show.snr_axes(ax)
    assert [line.get_color() for line in ax.lines] == ["black", show.color("sve")]
    assert (ax.get_xlabel(), ax.get_ylabel(), len(ax.collections)) == ("SNR", "SD (%)", 1)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_a_slider_describes_its_pictures():
    widgets = pytest.importorskip("ipywidgets")
    box = show.slider(lambda v: plt.figure(figsize=(1, 1)), {"0.1 <mM>": 1, "0.2": 2}, "lactate", 'maps of "lactate"')
    control, stack = box.children
    pictures = stack.children
    assert len(pictures) == 2
    assert "maps of &quot;lactate&quot;, 0.1 &lt;mM&gt;" in pictures[0].value
    assert "data:image/png;base64," in pictures[0].value
    assert [label for label, _ in control.children[1].options] == ["0.1 <mM>", "0.2"]
    assert isinstance(control.children[0], widgets.Play)
    assert not plt.get_fignums(), "figures are closed"


def test_a_slider_starts_where_it_is_told():
    pytest.importorskip("ipywidgets")
    for start, first in ((None, 0), ("2", 1)):
        control, stack = show.slider(lambda v: plt.figure(figsize=(1, 1)), [1, 2, 3], "τ", start=start).children
        play, bar = control.children
        assert (play.value, bar.index, stack.selected_index) == (first,) * 3
    with pytest.raises(ValueError, match="4"):
        show.slider(lambda v: plt.figure(figsize=(1, 1)), [1, 2, 3], "τ", start="4")
