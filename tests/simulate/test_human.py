"""The human phantom: real anatomy without any download, tissue fractions, lesions, partial volume, fields."""

import builtins
import socket
import sys
from dataclasses import replace

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.estimate.prior import prepare_mri
from precise_lib.estimate.train_config import TrainConfig
from precise_lib.signal.parts import Resonance
from precise_lib.signal.presets import dmi_3t
from precise_lib.simulate import human as h
from precise_lib.simulate.anatomy import templates
from precise_lib.simulate.phantoms import gradient_broadening

GRIDS = (10.0, 15.0)


def ml(fractions):
    return {
        name: float(v) * fractions.attrs["voxel_mm"] ** 3 / 1000
        for name, v in zip(h.TISSUES, fractions.sum(("x", "y", "z")), strict=True)
    }


def test_anatomy_comes_from_the_wheel_and_not_from_the_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a connection was attempted")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    templates.cache_clear()
    assert h.human(4).mask.any()


def test_without_nilearn_the_error_names_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name.split(".")[0] == "nilearn":
            raise ImportError("no nilearn")
        return real(name, *arguments, **options)

    for name in [n for n in sys.modules if n.split(".")[0] == "nilearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    templates.cache_clear()
    with pytest.raises(InputError, match=r"precise-lib\[studies\]"):
        h.human(7)


@pytest.mark.parametrize("lesions", [True, False])
def test_fractions_sum_to_one_inside_the_brain_and_to_zero_outside(lesions):
    fine, mri, _ = h.anatomy(lesions)
    brain = np.isfinite(mri)
    np.testing.assert_allclose(fine.sum(0)[brain], 1, atol=1e-6)
    assert (fine[:, ~brain] == 0).all()
    assert fine.min() >= 0
    assert mri[brain].min() >= 0
    assert mri[brain].max() <= 1
    assert fine[3:].any() == lesions


def test_volumes_are_those_of_the_template():
    """MNI152 is larger than one head: about 1.9 L with CSF, 1.0 gray, 0.7 white."""
    volumes = ml(h.tissue_fractions(10.0, lesions=False))
    assert 1700 < sum(volumes.values()) < 2000
    assert 900 < volumes["gray"] < 1100
    assert 600 < volumes["white"] < 750
    assert 150 < volumes["CSF"] < 300


def test_volumes_of_the_lesions_are_those_of_their_shapes():
    volumes = ml(h.tissue_fractions(10.0))
    shell = 4 / 3 * np.pi * (22**3 - 11**3) / 1000
    assert volumes["rim"] == pytest.approx(shell, rel=0.02)
    assert volumes["core"] == pytest.approx(4 / 3 * np.pi * 1.1**3, rel=0.02)
    assert volumes["cavity"] == pytest.approx(4 / 3 * np.pi * 1.5**3, rel=0.02)
    # the tumor's rim has taken part of the ellipsoid
    assert 0.6 < volumes["non-enhancing"] / (4 / 3 * np.pi * 1.5 * 1.8 * 1.5) < 1


@pytest.mark.parametrize("size", [*GRIDS, 7.0])
def test_partial_volume_is_conserved_at_every_grid(size):
    fine = h.anatomy()[0]
    for name, there, here in zip(h.TISSUES, ml(h.tissue_fractions(size)).values(), fine.sum((1, 2, 3)), strict=True):
        assert there == pytest.approx(here * 0.008, rel=1e-9), name


def test_a_dmi_voxel_is_the_plain_mean_of_the_fine_voxels_in_it():
    fine, _, affine = h.anatomy()
    shape, grid = h.dmi_grid(10.0)
    coarse = h.tissue_fractions(10.0).values
    voxel = np.array([9, 8, 9])
    first = np.linalg.inv(affine) @ grid @ [*(voxel - 0.5), 1]
    # 10 mm are five of the 2 mm voxels, of which the two at the ends may be cut
    low = first[:3] + 0.5
    edges = [np.clip(np.minimum(np.arange(n) + 1, x + 5) - np.maximum(np.arange(n), x), 0, 1) for n, x in
             zip(fine.shape[1:], low, strict=True)]  # fmt: skip
    expected = np.einsum("x,y,z,txyz->t", *edges, fine) / 125
    np.testing.assert_allclose(coarse[(slice(None), *voxel)], expected, atol=1e-12)
    assert coarse.shape[1:] == shape


@pytest.mark.parametrize("field_t", [7, 4])
def test_water_is_ten_mm_and_missing_brain_is_missing_signal(field_t):
    phantom = h.human(field_t, inhomogeneous=False)
    water = phantom.concentrations.sel(metabolite="water").values
    np.testing.assert_allclose(water[phantom.mask], 10)
    assert np.isnan(water[~phantom.mask]).all()
    share = h.tissue_fractions(h.FIELDS[field_t][1]).sum("tissue").values
    np.testing.assert_allclose(phantom.b1[phantom.mask], share[phantom.mask])
    first = phantom.measure(np.inf).fids[..., 0].real
    total = phantom.concentrations.sum("metabolite").values / 10 * share
    np.testing.assert_allclose(first[phantom.mask], total[phantom.mask], rtol=1e-5)
    assert (first[~phantom.mask] == 0).all()


def test_concentrations_are_fraction_weighted_means():
    phantom, fractions = h.human(7), h.tissue_fractions(10.0).values
    levels = np.array([h.CONCENTRATIONS_MM[t] for t in h.TISSUES])
    share = fractions[:, phantom.mask]
    expected = levels.T @ (share / share.sum(0))
    np.testing.assert_allclose(phantom.concentrations.values[:, phantom.mask], expected)


def test_tumor_and_cavity_lie_where_said_and_hold_what_was_said():
    phantom, healthy = h.human(7), h.human(7, lesions=False)
    maps, before = phantom.concentrations, healthy.concentrations
    for name, center, _ in h.SHAPES[:1] + h.SHAPES[2:]:
        index = tuple(np.rint(np.linalg.inv(phantom.affine) @ [*center, 1]).astype(int)[:3])
        assert phantom.tumors[name][index], name
    assert phantom.tumors["rim"].sum() > 25
    assert sum(t.astype(int) for t in phantom.tumors.values()).max() == 1
    assert not any(t.any() for t in healthy.tumors.values())
    glx, lac = (lambda m: (m.sel(metabolite="Glx").values, m.sel(metabolite="Lac").values))(maps)
    for name in ("rim", "non-enhancing"):
        where = phantom.tumors[name]
        assert glx[where].mean() < 0.8 * before.sel(metabolite="Glx").values[where].mean(), name
        assert lac[where].mean() > 3 * before.sel(metabolite="Lac").values[where].mean(), name
    assert glx[phantom.tumors["core"]].mean() < 0.5
    cavity = maps.values[1:, phantom.tumors["cavity"]].mean(1)
    assert (cavity < 0.5 * before.values[1:, phantom.tumors["cavity"]].mean(1)).all()
    # far from the lesions nothing has changed
    left = np.zeros(phantom.mask.shape, bool)
    left[: phantom.mask.shape[0] // 2 - 1] = True
    np.testing.assert_array_equal(maps.values[:, left], before.values[:, left])


def test_the_mri_shows_rim_core_and_cavity_but_not_the_non_enhancing_part():
    gray = {
        name: prepare_mri(h.human(7, **options).measure(np.inf))
        for name, options in {
            "lesions": {},
            "all shown": {"non_enhancing_in_mri": True},
        }.items()
    }
    tumors, compartments = h.human(7).tumors, h.human(7).compartments
    white = np.median(gray["lesions"][compartments == 2])
    assert gray["lesions"][tumors["rim"]].mean() > white + 0.15
    assert gray["lesions"][tumors["cavity"]].mean() < white - 0.25
    assert gray["lesions"][tumors["core"]].mean() < white - 0.1
    assert gray["all shown"][tumors["non-enhancing"]].mean() > gray["lesions"][tumors["non-enhancing"]].mean() + 0.15
    # the non-enhancing part looks exactly like the healthy tissue it grew into, unless it is painted
    fine, mri, _ = h.anatomy()
    hidden = fine[h.TISSUES.index("non-enhancing")] > 0.999
    assert hidden.sum() > 1000
    np.testing.assert_allclose(mri[hidden], h.anatomy(lesions=False)[1][hidden], atol=1e-12)
    np.testing.assert_allclose(h.anatomy(non_enhancing_in_mri=True)[1][hidden], 1.0, atol=1e-3)
    np.testing.assert_array_equal(h.anatomy(non_enhancing_in_mri=True)[0], fine)


def test_fields_are_smooth_worst_at_the_sinus_and_within_what_networks_are_trained_for():
    for field_t in (7, 4):
        phantom = h.human(field_t)
        config, mask = TrainConfig.for_model(phantom.model), phantom.mask
        assert np.abs(phantom.b0_hz[mask]).max() < config.shift_range_hz[1]
        assert gradient_broadening(phantom.b0_hz)[mask].max() < config.broadening_range_hz[1]
        worst = np.unravel_index(np.argmax(np.where(mask, phantom.b0_hz, -np.inf)), mask.shape)
        x, y, z, _ = phantom.affine @ [*worst, 1]
        assert abs(x) < 20
        assert y > 30
        assert z < 10
    ratio = h.human(7, 12.0).b0_hz.max() / h.human(4, 12.0).b0_hz.max()
    assert ratio == pytest.approx(45.75 / 26.14, rel=1e-6)


def test_sensitivity_is_one_on_average_and_highest_at_the_surface():
    phantom = h.human(7)
    full = h.tissue_fractions(10.0).sum("tissue").values > 0.999
    b1 = phantom.b1[full & phantom.mask]
    assert 0.9 < b1.mean() < 1.05
    assert b1.max() / b1.min() > 1.3


def test_regions_keep_healthy_tissue_and_lesions_apart():
    phantom, healthy = h.human(7), h.human(7, lesions=False)
    masks = h.regions(phantom, healthy)
    assert list(masks) == ["whole brain", "healthy", "gray", "white", "CSF", *h.LESIONS]
    lesion = np.any([masks[name] for name in h.LESIONS], axis=0)
    assert not (masks["healthy"] & lesion).any()
    same = (phantom.concentrations.values == healthy.concentrations.values).all(0)
    assert same[masks["healthy"]].all()
    np.testing.assert_array_equal(masks["gray"] | masks["white"] | masks["CSF"], masks["healthy"])
    # a core of 22 mm fills no voxel of 15 mm by half
    assert "core" not in h.regions(h.human(4), h.human(4, lesions=False))


@pytest.mark.parametrize(("arguments", "words"), [
    ({"field_t": 3}, "7 or 4"),
    ({"voxel_mm": 1.0}, "between 4 and 40"),
    ({"voxel_mm": float("nan")}, "between 4 and 40"),
])  # fmt: skip
def test_what_is_not_there_is_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        h.human(**arguments)


def test_another_signal_model_and_other_resonances():
    assert h.human(4, model=dmi_3t()).measure(np.inf).fids.shape[-1] == 1400
    model = dmi_3t()
    other = replace(model, resonances=(*model.resonances, Resonance("Ace", 1.9, 0.03)))
    with pytest.raises(InputError, match="not water, Glc, Glx, Lac, Ace"):
        h.human(7, model=other)
