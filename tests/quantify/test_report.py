"""The report on one data set: what it shows against the truth, whatever the grid, and the page it makes."""

import html
import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import typer

from precise_lib import cli
from precise_lib.errors import InputError
from precise_lib.evaluate import crlb
from precise_lib.io import measurements, nifti, nifti_mrs, shipped
from precise_lib.quantify import figures, panels, quantify, report, report_tables
from precise_lib.quantify import page as report_page
from precise_lib.run import notebooks
from precise_lib.signal.mrsi import MRSI, Series
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.signal.parts import Acquisition
from precise_lib.signal.presets import default_2h_model
from precise_lib.simulate.phantoms import rings
from tests.helpers import ROOT, has_shipped_weights, mean_bound, sd_bounds

SNR = 20.0
FIGURES = (figures.spectra, figures.quality, figures.concentrations, figures.courses)


def shift_of(phantom):
    """A smooth B0 map (x, y, z) in Hz."""
    x, y, _ = np.indices(phantom.mask.shape)
    return 8.0 * (x - x.mean()) / x.max() + 4.0 * (y - y.mean()) / y.max()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A phantom of 16 x 16 voxels with a known B0 map, as files, and the phantom."""
    folder, phantom = tmp_path_factory.mktemp("files"), rings(matrix=16)
    nifti_mrs.write_phantom(folder, phantom, SNR)
    nifti_mrs.write_mrsi(folder / "dmi.nii.gz", phantom.measure(SNR, 1, b0_hz=shift_of(phantom), broadening_hz=0.0))
    return folder, phantom


def quantified(source, estimator="fit", **options):
    quantify(source.dmi, source.out, source.mri, source.mask, estimator, **options)
    return report.read(source)


@pytest.fixture(scope="module")
def found(files, tmp_path_factory):
    """The report on these files by the fit."""
    folder, _ = files
    where = report.source(*(folder / f"{n}.nii.gz" for n in ("dmi", "mri", "mask")), tmp_path_factory.mktemp("maps"))
    return quantified(where)


def draw_all(found):
    """Every figure, drawn to the end; the names of those that there are."""
    made = {figure.__name__: figure(found) for figure in (*FIGURES, figures.flags)}
    for figure in filter(None, made.values()):
        figure.canvas.draw()
    plt.close("all")
    return {name for name, figure in made.items() if figure}


# ---------------------------------------------------------------- where data come from


def test_simulated_data_only_by_their_name(tmp_path, monkeypatch):
    assert report.source("no.nii.gz", out=tmp_path).dmi == Path("no.nii.gz")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="There is no file"):
        quantified(report.source("no.nii.gz", out=tmp_path))
    with pytest.raises(InputError, match="brings its own MRI and mask"):
        report.source(report.SIMULATED, mri="mri.nii.gz", out=tmp_path)
    made = report.source(report.SIMULATED, out=tmp_path)
    assert made.simulated
    assert all(path.is_file() and path.is_relative_to(tmp_path) for path in (made.dmi, made.mri, made.mask))
    assert made.sentence().startswith("**Simulated data.**")
    # a run of a sweep keeps its maps to itself
    monkeypatch.setenv("PRECISE_RUN_FOLDER", str(tmp_path / "run"))
    assert report.source("a.nii.gz").out == tmp_path / "run" / "maps"
    assert report.source("a.nii.gz", out="own").out == Path("own")


# ---------------------------------------------------------------- what it says, against the truth


def test_snr_and_shift_are_those_of_the_phantom(found, files):
    _, phantom = files
    inside, sigma = phantom.mask, snr_to_sigma(phantom.model, SNR)
    error = found.on_grid(found.fitted("shift_hz"))[inside] - shift_of(phantom)[inside]
    # the shift comes first after the amplitudes of the four lines
    bound = np.sqrt(crlb.covariance(phantom.model, phantom.amplitudes[inside], sigma)[:, 4, 4])
    low, high = sd_bounds(error.size)
    assert low < (error / bound).std() < high
    assert abs((error / bound).mean()) < mean_bound(error.size)
    assert np.median(found.snr) == pytest.approx(SNR, rel=0.03)
    assert found.sigma == pytest.approx(float(sigma), rel=0.02)
    best, middle, worst = (found.snr[v] for v in found.voxels().values())
    assert best == found.snr.max()
    assert worst == found.snr.min()
    assert middle == pytest.approx(np.median(found.snr), rel=0.01)


def test_tables_agree_with_the_files(found):
    assert set(found.maps) == {"conc", "sd", "bias", "low", "high"}
    assert list(found.maps["conc"]) == ["Glc", "Glx", "Lac"]
    assert not found.maps["bias"], "a fit has no prior"
    glc, _, _ = nifti.read_map(found.source.out / "conc_Glc.nii.gz")
    line = next(row for row in report_tables.results(found).splitlines() if row.startswith("| Glc"))
    assert f"| {np.nanmedian(glc):.2f} |" in line
    assert found.values()["Glc median (mM)"] == pytest.approx(np.nanmedian(glc), rel=1e-5)
    listed = set(re.findall("<code>([^<]+)</code>", html.unescape(report_tables.files(found))))
    assert listed == {path.name for path in found.source.out.iterdir()}
    assert "turned by 0°" in report_tables.about(found)
    summary = json.loads((found.source.out / "summary.json").read_text())
    assert all(f"- {text}" in html.unescape(report_tables.warnings(found)) for text in summary["warnings"])


def test_what_an_earlier_run_left_is_not_shown(found):
    old = found.source.out / "bias_Glc.nii.gz"
    nifti.write_image(old, np.ones(found.data.grid_shape), found.data.affine)
    try:
        assert not report.read(found.source).maps["bias"]
    finally:
        old.unlink()


def rotation(axis, degrees):
    turn, (i, j) = np.eye(4), [k for k in range(3) if k != axis]
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn[[i, j, i, j], [i, j, j, i]] = c, c, -s, s
    return turn


def test_mri_is_aligned_by_the_affines_of_both(found):
    """An MRI that is a linear function of position, on an oblique grid of its own, under an oblique grid."""
    affine = rotation(0, 20) @ rotation(2, -35) @ np.diag([7.0, 9.0, 11.0, 1.0])
    mri_affine = rotation(1, 50) @ rotation(0, -15) @ np.diag([3.0, 3.5, 2.5, 1.0])
    mri_affine[:3, 3] = -(mri_affine[:3, :3] @ (np.array([60, 60, 60]) / 2))
    affine[:3, 3] = -(affine[:3, :3] @ (np.array([8, 6, 4]) / 2))
    index = np.indices((60, 60, 60)).reshape(3, -1)
    world = mri_affine[:3, :3] @ index + mri_affine[:3, 3:]
    slope = np.array([0.3, -1.1, 0.7])
    mri = (slope @ world).reshape(60, 60, 60)
    model = found.model
    data = MRSI(np.ones((8, 6, 4, model.acquisition.n_samples), complex), model, affine, None, mri, mri_affine)
    shown = panels.mri_under(replace(found, series=Series.of(data)), z=3)
    i, j = (np.linspace(-0.5, n - 0.5, 2 * m + 1)[1::2] for n, m in zip((8, 6), shown.shape, strict=True))
    points = np.stack([*np.meshgrid(i, j, indexing="ij"), np.full(shown.shape, 3.0)]).reshape(3, -1)
    expected = (slope @ (affine[:3, :3] @ points + affine[:3, 3:])).reshape(shown.shape)
    np.testing.assert_allclose(shown, expected, atol=1e-3)
    # beyond the MRI there is nothing, rather than its edge
    far = mri_affine.copy()
    far[0, 3] += 95
    partly = panels.mri_under(replace(found, series=Series.of(replace(data, mri_affine=far))), z=3)
    assert 0 < np.isnan(partly).mean() < 1


def test_every_picture_of_a_map(found):
    assert draw_all(found) >= {"spectra", "quality", "concentrations"}
    assert found.slices == [0]


def single_voxel(folder, n=1, frames=1):
    """A row of n voxels at 3 T with sizes that say nothing, as text conversion leaves it; its file."""
    model = default_2h_model(Acquisition(512, 1 / 2500, 45.75))
    clean = model.fids(np.tile([1, 0.3, 0.4, 0.1], (n, 1, 1, frames, 1)))
    fids = add_noise(clean, snr_to_sigma(model, 30), np.random.default_rng(0))
    data = Series(np.moveaxis(fids, 3, -1).astype(np.complex64), model, np.diag([1e4, 1e4, 1e4, 1]))
    nifti_mrs.write_mrsi(folder / "voxel.nii.gz", data)
    return folder / "voxel.nii.gz"


def test_a_color_scale_says_what_lies_beyond_it():
    values = np.r_[np.zeros(2000), np.linspace(0, 1, 2000), 50.0]
    fig, ax = plt.subplots()
    drawn = ax.imshow(values[None], **panels.limits([values]))
    assert 0.99 < drawn.get_clim()[1] < 1.01
    assert panels.bar(fig, drawn, [ax], [values]).extend == "max"
    assert panels.bar(fig, drawn, [ax], [values[:-1] / 2]).extend == "neither"
    plt.close(fig)


def test_a_bias_below_its_own_noise_is_not_shown(found):
    errors = found.summary["errors"] | {"median_bias_of_noise_alone_mm": {"Lac": 0.6745}}
    bias = 0 * found.result["concentration"] + 0.5
    bias.loc[{"metabolite": "Lac"}][*np.argwhere(found.data.usable)[0], 0] = 2.0
    result = found.result.assign(bias=bias)
    fig = figures.concentrations(replace(found, summary=found.summary | {"errors": errors}, result=result))
    n, row = 3 * len(found.slices), found.metabolites.index("Lac")
    drawn = fig.axes[row * n + 2 * len(found.slices)].images[-1].get_array()
    assert np.isfinite(np.ma.filled(drawn.astype(float), np.nan)).sum() == 1
    plt.close(fig)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_voxels_without_an_mri(tmp_path, n):
    found = quantified(report.source(single_voxel(tmp_path, n), out=tmp_path / "maps"))
    assert len(found.voxels()) == min(n, 3)
    assert draw_all(found) == {"spectra", "concentrations"} | ({"quality"} if n > figures.FEW else set())
    assert "no MRI" in found.source.sentence()
    assert f"| {n} x 1 x 1 voxels of 10000 x 10000 x 10000 mm" in report_tables.about(found)


def test_a_time_course_has_a_picture_of_its_own(tmp_path):
    found = quantified(report.source(single_voxel(tmp_path, 5, frames=3), out=tmp_path / "maps"))
    assert len(found.series) == 3
    assert "courses" in draw_all(found)
    assert "3; pictures and numbers of one frame are of the last" in report_tables.about(found)
    last = nifti.read_map(tmp_path / "maps" / "conc_Glx.nii.gz")[0][..., -1]
    np.testing.assert_array_equal(found.maps["conc"]["Glx"], last)


def test_a_voxel_is_drawn_where_it_lies_in_the_mri(tmp_path):
    path = single_voxel(tmp_path)
    nifti.write_image(tmp_path / "mri.nii.gz", np.random.default_rng(0).random((9, 9, 9)), np.diag([4e3, 4e3, 4e3, 1]))
    found = quantified(report.source(path, tmp_path / "mri.nii.gz", out=tmp_path / "maps"))
    assert "quality" in draw_all(found)


def test_a_fid_too_short_to_tell_its_noise(tmp_path):
    """Ten samples: quantify says that it has no errors, and the report is there all the same."""
    model = default_2h_model(Acquisition(10, 1 / 500, 45.75))
    fids = add_noise(np.tile(model.fids([1, 0.3, 0.4, 0.1]), (2, 1, 1, 1)), 1e-3, np.random.default_rng(0))
    nifti_mrs.write_mrsi(tmp_path / "short.nii.gz", MRSI(fids.astype(np.complex64), model))
    found = quantified(report.source(tmp_path / "short.nii.gz", out=tmp_path / "maps"))
    assert "No errors were estimated" in report_tables.warnings(found)
    assert draw_all(found) == {"spectra", "concentrations"}


def test_the_measured_voxel(tmp_path):
    found = quantified(report.source(measurements.fetch("in_vivo_2h_3t_voxel"), out=tmp_path))
    assert draw_all(found) == {"spectra", "concentrations"}
    assert "the last 700 zero-filled" in report_tables.about(found)
    # without a fit: the highest point of the spectrum over the noise where no line is (a third of it, up field)
    spectrum = np.fft.fftshift(np.fft.fft(found.data.fids[0, 0, 0, :700]))
    assert found.snr.item() == pytest.approx(np.abs(spectrum).max() / spectrum[:230].real.std(), rel=0.2)
    assert list(found.voxels()) == ["the voxel"]


# ---------------------------------------------------------------- the page


@pytest.mark.skipif(not has_shipped_weights(), reason="the weights dmi_11t7 are not there yet")
def test_report_and_quantify_are_one_path(files, tmp_path, monkeypatch):
    """`precise report` writes the maps of `precise quantify`, and a page that needs nothing else."""
    folder, _ = files
    given = [folder / "dmi.nii.gz", "--mri", folder / "mri.nii.gz", "--mask", folder / "mask.nii.gz", "--lam", "0.02"]
    monkeypatch.setattr(sys, "argv", ["precise", "report", *map(str, [*given, "--out", tmp_path])])
    with pytest.raises(SystemExit) as leaving:
        cli.app_main()
    assert not leaving.value.code
    quantify(given[0], tmp_path / "q", given[2], given[4], lam="0.02")
    maps = sorted(path.name for path in (tmp_path / "q").glob("*.nii.gz"))
    assert sorted(path.name for path in tmp_path.glob("*.nii.gz")) == maps
    for name in maps:
        np.testing.assert_array_equal(*(nifti.read_map(place / name)[0] for place in (tmp_path, tmp_path / "q")))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)[^"'>]*""", page), "it loads something"
    assert page.count("<img ") == page.count("<img alt=") >= 3
    assert page.count("<figcaption>") == 3
    for text in ("<h1", "Report on dmi.nii.gz", "SNR and B0", "summary.json", "lambda</td>"):
        assert text in page
    assert "Simulated data" not in page
    assert "import matplotlib" not in page, "code is in report.ipynb"
    executed = nbformat.read(tmp_path / "report.ipynb", as_version=4)
    assert "import matplotlib" in executed.cells[1].source
    assert not (tmp_path / "failed.ipynb").exists()


REFUSED = "dmi = mri = model = None\nout = estimator = mask = lam = None"
RAISES = "from precise_lib.errors import InputError\nraise InputError(f'{dmi} is of 1H: give 2H.')"


def test_bad_input_is_one_sentence_and_the_notebook_is_kept(tmp_path, monkeypatch, capsys):
    path = single_voxel(tmp_path)
    cells = [nbformat.v4.new_code_cell(source) for source in (REFUSED, RAISES)]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "refuses.ipynb")
    monkeypatch.setattr(report_page, "notebook_path", lambda name: tmp_path / "refuses.ipynb")
    monkeypatch.setattr(sys, "argv", ["precise", "report", str(path), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as leaving:
        cli.app_main()
    assert leaving.value.code == 2
    kept = tmp_path / "out" / "failed.ipynb"
    assert capsys.readouterr() == ("", f"precise: {path} is of 1H: give 2H (the notebook up to there: {kept}).\n")
    assert list((tmp_path / "out").iterdir()) == [kept]
    # what is seen without running it leaves nothing
    with pytest.raises(InputError, match="There is no file"):
        report_page.make(path, tmp_path / "other", mri=tmp_path / "no.nii.gz")
    assert not (tmp_path / "other").exists()


def test_two_reports_in_one_folder(tmp_path, monkeypatch):
    """The second is refused by a sentence and touches nothing; the first is whole."""
    path, out, said = single_voxel(tmp_path), tmp_path / "out", []

    def execute(notebook, output, *_):
        with pytest.raises(InputError, match=r"Another process writes a report to .*out: wait for it") as refusal:
            report_page.make(path, out)
        said.append(str(refusal.value))
        nbformat.write(nbformat.v4.new_notebook(), output)

    monkeypatch.setattr(notebooks, "execute", execute)
    report_page.make(path, out)
    assert len(said) == 1
    assert sorted(p.name for p in out.iterdir()) == ["report.html", "report.ipynb"]
    report_page.make(path, out)  # nobody is held up afterwards


def test_a_report_of_maps_that_another_run_replaced(files, tmp_path):
    folder, _ = files
    where = report.source(folder / "dmi.nii.gz", None, None, tmp_path / "maps")
    summary = quantify(where.dmi, where.out, estimator="fourier")
    report.read(where, summary)
    quantify(where.dmi, where.out, estimator="fourier")
    with pytest.raises(InputError, match="Another process has replaced the maps"):
        report.read(where, summary)


def test_another_failure_names_its_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "execute", lambda *a: notebooks.Failure("cell 3 ('x')", "KeyError", "'y'"))
    monkeypatch.setattr(sys, "argv", ["precise", "report", report.SIMULATED, "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as leaving:
        cli.app_main()
    assert leaving.value.code == 1
    with pytest.raises(RuntimeError, match=r"cell 3 \('x'\) failed: KeyError: 'y'"):
        report_page.make(report.SIMULATED, tmp_path)


def test_missing_nbconvert_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks.importlib.util, "find_spec", lambda name: None if name == "nbconvert" else object())
    with pytest.raises(InputError, match=r"needs nbconvert: .*precise-lib\[sweep\]"):
        report_page.make(report.SIMULATED, tmp_path)


def test_the_notebook_is_found_in_a_checkout_and_in_an_installation(tmp_path, monkeypatch):
    assert shipped.notebook_path(report_page.NOTEBOOK) == ROOT / "notebooks" / "your_data.ipynb"
    package = tmp_path / "site-packages" / "precise_lib"
    (package / "_data" / "notebooks").mkdir(parents=True)
    (package / "_data" / "notebooks" / "your_data.ipynb").touch()
    monkeypatch.setattr(shipped, "_PACKAGE", package)
    assert shipped.notebook_path("your_data.ipynb").is_relative_to(package)
    with pytest.raises(FileNotFoundError):
        shipped.notebook_path("other.ipynb")
    assert '"notebooks/your_data.ipynb" = "precise_lib/_data/notebooks/your_data.ipynb"' in (
        ROOT / "pyproject.toml"
    ).read_text(encoding="utf-8")


# ---------------------------------------------------------------- what the pages tell a reader to type


def commands():
    """Every line of a code block that calls `precise`, in the prose."""
    for path in [ROOT / "README.md", *sorted((ROOT / "book").glob("*.md"))]:
        for block in re.findall(r"```(?:bash|sh|console)\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("precise "):
                    yield pytest.param(line, id=f"{path.stem}: {line.split('#')[0].strip()[:60]}")


@pytest.mark.parametrize("line", list(commands()))
def test_commands_in_the_prose_parse(line):
    words = shlex.split(line, comments=True)[1:]
    command = typer.main.get_command(cli.app)
    context = command.make_context("precise", words)
    while hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, words, parent=context)


def test_the_four_lines_that_write_nifti_mrs(files, tmp_path, monkeypatch):
    """The page's own way from an array to a file: what is read is what was given, not its mirror image."""
    folder, phantom = files
    given = nifti_mrs.read_mrsi(folder / "dmi.nii.gz").fids
    np.save(tmp_path / "fids.npy", given)
    np.savetxt(tmp_path / "affine.txt", phantom.affine)
    page = (ROOT / "book" / "your_data.md").read_text(encoding="utf-8")
    code = next(b for b in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "gen_nifti_mrs" in b)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    read = nifti_mrs.read_mrsi(tmp_path / "dmi.nii.gz")
    np.testing.assert_array_equal(read.fids, given)
    np.testing.assert_allclose(read.affine, phantom.affine)
    assert read.model.acquisition == Acquisition(512, 1 / 5000, 76.7)
