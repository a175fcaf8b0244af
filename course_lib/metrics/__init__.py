"""Metrics: tensors in, numbers out, from the error of a pixel to the distance of two distributions.

Two kinds of input occur. Pictures are tensors (N, 3, H, W), and each function says whether it takes
floats in [-1, 1] or bytes. Distances of *sets* take features, (N, F), of any image encoder: the
choice of the encoder decides what they can see, so it is the caller's.
"""

from __future__ import annotations

from course_lib.lazy import lazy_names

_MODULES: dict[str, tuple[str, ...]] = {
    "pixels": ("mse", "psnr", "ssim"),
    "perceptual": ("perceptual_distance", "random_feature_maps"),
    "frechet": ("fid", "frechet_distance"),
    "kernel": ("kid", "kid_floor", "kid_interval", "kid_of_resamples"),
    "neighbors": (
        "DensityCoverage",
        "PrecisionRecall",
        "density_coverage",
        "inside",
        "nearest",
        "precision_recall",
        "thumbnails",
    ),
    "memorization": (
        "Neighbours",
        "membership_auc",
        "membership_scores",
        "memorized",
        "memorized_share",
        "nearest_two",
    ),
    "preferences": ("PreferenceScores", "bradley_terry", "count_wins"),
    "probe": ("linear_probe",),
    "roc": ("auc", "auc_interval", "roc_curve"),
    "two_sample": ("two_sample_accuracy", "two_sample_hits"),
    "intervals": ("Estimate", "bootstrap", "mean", "proportion", "ratio"),
    "comparison": ("Comparison", "compare_features"),
    "appearance": ("grain", "radial_spectra", "random_features", "sharpness"),
}

__all__, __getattr__, __dir__ = lazy_names(__name__, _MODULES, tuple(_MODULES))
