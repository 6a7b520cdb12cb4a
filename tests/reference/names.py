"""Everything of `precise_lib` that the reference cases use, under names of their own: what moves is changed here."""
# ruff: noqa: F401

from precise_lib import estimate
from precise_lib.estimate import choose as choose_lambda
from precise_lib.estimate import training
from precise_lib.estimate.fit import Fit, fit_fids
from precise_lib.estimate.network import NetworkConfig
from precise_lib.estimate.noise import free_space, noise_sd
from precise_lib.estimate.noise_model import Kernel
from precise_lib.estimate.prior import ExactSolver, edge_weights, prepare_mri
from precise_lib.estimate.sampling import Sampler
from precise_lib.estimate.smoother import Smoother, lattices
from precise_lib.estimate.smoother import leverage_and_variance as diagonal_and_squares
from precise_lib.estimate.train_config import TrainConfig
from precise_lib.estimate.truncated_normal import quantile as cut_normal
from precise_lib.estimate.weights import load_weights
from precise_lib.evaluate import closed_form as errors
from precise_lib.evaluate import coverage as repetition
from precise_lib.evaluate import crlb
from precise_lib.evaluate.accuracy import accuracy
from precise_lib.evaluate.efficiency import efficiency, efficient_map
from precise_lib.evaluate.montecarlo import amplitude_study, phantom_study
from precise_lib.evaluate.regression import line as regression
from precise_lib.io.nifti import write_image
from precise_lib.io.nifti_mrs import write_mrsi
from precise_lib.proton import brain as brain1h
from precise_lib.proton import denoised as denoising
from precise_lib.proton import quantification, scores
from precise_lib.proton import training as denoise_training
from precise_lib.proton.fit import fit_spectra
from precise_lib.proton.in_vivo import extended, on_training_grid, points_between
from precise_lib.proton.mrsi import head
from precise_lib.proton.mrsi import mrsi_3t as brain_3t
from precise_lib.proton.preprocess import decompose, eddy_current_corrected, remove_band, resample
from precise_lib.proton.quantifiers import InceptionConfig, ShallowCnnConfig
from precise_lib.proton.spectrum_model import SpectrumModel
from precise_lib.proton.spectrum_model import crlb as spectrum_crlb
from precise_lib.proton.train_config import DenoiseConfig, QuantifyConfig
from precise_lib.proton.unets import UNet1dConfig, UNet2dConfig
from precise_lib.proton.weights import Denoiser, Quantifier
from precise_lib.quantify import lesions, quantify
from precise_lib.signal.align import mask_on_grid, sampled
from precise_lib.signal.information import covariance, jacobian
from precise_lib.signal.mrsi import Series
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.signal.parts import Acquisition
from precise_lib.signal.presets import dmi_3t, dmi_4t, dmi_7t, dmi_11t7
from precise_lib.simulate.encoding import Encoding
from precise_lib.simulate.phantoms import rings
from precise_lib.simulate.rat import rat
from precise_lib.studies import contrasts, regions, regularization, shrinkage
from precise_lib.studies.errors_over_snr import bounds as bounds_1h
from precise_lib.studies.finetuning import finetuning_study
from precise_lib.studies.peer_cases import CASES as PEER_CASES
from precise_lib.studies.peers import study as peer_study
from precise_lib.studies.posterior import TrainingPrior as Prior
from precise_lib.studies.posterior import posterior

# functions that the cases call by the name of what they do
make_estimator, estimator_names = estimate.make, estimate.names
lambda_curves, lambda_least = choose_lambda.curves, choose_lambda.least
load_denoiser, load_quantifier = Denoiser.load, Quantifier.load
train_sve, train_denoiser, train_quantifier = training.train, denoise_training.train, denoise_training.train
false_negative = lesions.false_negative
contrast_scene, contrast_measure, contrast_lines = contrasts.scene, contrasts.measure, contrasts.contrast_lines
eq6, numeric, ratio_sd, blind_bias, overlap_cost = (
    crlb.eq6,
    crlb.numeric,
    crlb.ratio_sd,
    crlb.misspecified_bias,
    crlb.overlap_cost,
)
spectra_of, denoised_spectra, score_table = brain1h.spectra_of, denoising.denoised_spectra, scores.score_table
quantified, best_possible, medians, WINDOW = (
    denoising.quantified,
    scores.best_possible,
    scores.medians,
    brain1h.WINDOW,
)
sve_covariance, closed_form, excess_over_bound = errors.sve_covariance, errors.closed_form, errors.excess_over_bound
compared, crlb_to_water, helped = quantification.compared, quantification.crlb_to_water, quantification.helped
predicted, measured = regions.predicted, regions.measured
regularization_closed_form, regularization_study = regularization.closed_form, regularization.regularization_study
gray_levels, repeat_until = regularization.gray_levels, repetition.repeat_until
correlation_matrix, shared_sd = Encoding.correlation_matrix, errors.sd_of_shared_noise
shrinkage_draw, shrinkage_summary, shrinkage_expected = shrinkage.draw, shrinkage.summary, shrinkage.expected
efficient_errors_1h, verdict = shrinkage.efficient_errors_1h, shrinkage.verdict


def lambda_solvers(weights, lams):
    """One solver for each lambda."""
    made = {lam: ExactSolver(weights, lam) for lam in set(lams)}
    return [made[lam] for lam in lams]


def lesions_left(weights, usable, water, lams):
    """What lambda leaves of lesions that the MRI does not show."""
    return false_negative(Smoother(usable, lambda lam: ExactSolver(weights, lam)), water, lams)
