"""Claims M1, M2, M3 and M12, recorded from denoised spectra under one reading of the SNR."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from precise_lib.evaluate import claims
from precise_lib.evaluate.records import Record
from precise_lib.proton import scores
from precise_lib.proton.weights import Denoiser
from precise_lib.studies.denoising import Denoised

DIFFERS = {
    "1D": "another training: a quarter of the width, 4 epochs, a one-cycle rate, data scaled by their RMS",
    "2D": "another training: half the width, four of five levels, 48 of 128 frames; 5 epochs "
    "in batches of 16 at a rate that falls from 0.001, not up to 30 in batches of 128 at 0.0002; "
    "data scaled by their RMS",
}


def rejected(found: Denoised, n_lags: int) -> dict[str, float]:
    """Share of the spectra in which what remains is not white at the 1 % level, and that of the "noise" itself."""
    return {n: float((scores.ljung_box(r, n_lags) < 0.01).mean()) for n, r in found.remains().items()}


def flatness(found: Denoised) -> dict[str, float]:
    """`scores.flatness` of what remains over the noise level, and of the "noise" itself."""
    return {n: scores.flatness(r / found.sigma[:, None]) for n, r in found.remains().items()}


def records(found: Denoised, networks: Mapping[str, Denoiser], reading: str, seed: int, n_lags: int) -> list[Record]:
    """Scores of each network ("1D", "2D") at low and high SNR, their order, and what remains as a test sees it."""
    kept, white, flat = [], rejected(found, n_lags), flatness(found)
    low, high = scores.LOW_SNR, scores.HIGH_SNR
    for n, net in networks.items():
        card = {"network": net.name, "weights": net.hash[:12], "spectra": len(found.snr), "seed": seed}
        about = {"parameters": card, "part": n, "figure": "fig-denoise-scores", "reading": reading}
        measured = about | {"spread_meaning": "95 % interval", "differs": DIFFERS[n]}
        fit = float(np.sqrt(22 / (2 * net.network.n_points)))
        note = f"a fit of the true model would have {fit:.2f} over as many points"
        kept.append(claims.record("M1", *found.median(n, "DS", low), note=note, **measured))
        kept.append(claims.record("M3", *found.median(n, "DSw", high), **measured))
        if n == "1D":
            kept.append(claims.record("M2", *found.median(n, "DS", high), **(measured | {"part": None})))
        few, many = (scores.medians(found.tables[n], snr) for snr in (low, high))
        ordered = all(m["DS"] < m["DS 0-4.5 ppm"] < 1.05 * m["DSw"] for m in (few, many))
        text = f"{many['DS']:.2f}, {many['DS 0-4.5 ppm']:.2f}, {many['DSw']:.2f} at SNR 30-40"
        kept.append(claims.record("M3", text, holds=ordered, **(about | {"part": f"order, {n}"})))
        colored = white[n] > 0.9 and white["noise"] < 0.03 and flat[n] < 0.8
        text = f"white at the 1 % level rejected in {white[n]:.0%} of the spectra"
        about = about | {"figure": "fig-denoise-residual", "note": f"the noise itself: {white['noise']:.1%}"}
        kept.append(claims.record("M12", text, holds=colored, **about))
    return kept
