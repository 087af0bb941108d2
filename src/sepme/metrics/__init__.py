"""From labels, features and images to figures, and from figures to intervals.

Every metric is a pure function; those that accumulate have a `Metric` around it, in `METRICS`.
"""

from typing import Any

from sepme.core.metric import Metric
from sepme.metrics.accuracy import (
    accuracy,
    none_share,
    picture_labels,
    replaced_share,
    unlearning_accuracy,
)
from sepme.metrics.clip_score import clip_score
from sepme.metrics.discrepancy import cmmd, gaussian_kernel, kid, mmd
from sepme.metrics.drift import feature_distance, largest_difference, psnr
from sepme.metrics.frechet import frechet_distance
from sepme.metrics.harmonic import harmonic_mean, harmonic_score
from sepme.metrics.informative import informative
from sepme.metrics.intervals import cluster_bootstrap, median_interval, paired_drop, wilson
from sepme.metrics.nudity import exposed_parts
from sepme.metrics.ssim import ssim
from sepme.registry import Registry

METRICS: Registry[type[Metric[Any]]] = Registry(
    "metric",
    {
        "clip_score": "sepme.metrics.clip_score:ClipScore",
        "cmmd": "sepme.metrics.discrepancy:CMMD",
        "cra": "sepme.metrics.accuracy:CrossDomainRetainAccuracy",
        "feature_distance": "sepme.metrics.drift:FeatureDistance",
        "fid": "sepme.metrics.frechet:FID",
        "h_c": "sepme.metrics.harmonic:HarmonicCelebrities",
        "h_o": "sepme.metrics.harmonic:HarmonicObjects",
        "ira": "sepme.metrics.accuracy:InDomainRetainAccuracy",
        "kid": "sepme.metrics.discrepancy:KID",
        "largest_difference": "sepme.metrics.drift:LargestDifference",
        "none_share": "sepme.metrics.accuracy:NoneShare",
        "nudity_count": "sepme.metrics.nudity:NudityCount",
        "psnr": "sepme.metrics.drift:PSNR",
        "replaced_share": "sepme.metrics.accuracy:ReplacedShare",
        "ssim": "sepme.metrics.ssim:SSIM",
        "ua": "sepme.metrics.accuracy:UnlearningAccuracy",
    },
)
"""Every metric by its registry name."""

__all__ = [
    "METRICS",
    "accuracy",
    "clip_score",
    "cluster_bootstrap",
    "cmmd",
    "exposed_parts",
    "feature_distance",
    "frechet_distance",
    "gaussian_kernel",
    "harmonic_mean",
    "harmonic_score",
    "informative",
    "kid",
    "largest_difference",
    "median_interval",
    "mmd",
    "none_share",
    "paired_drop",
    "picture_labels",
    "psnr",
    "replaced_share",
    "ssim",
    "unlearning_accuracy",
    "wilson",
]
