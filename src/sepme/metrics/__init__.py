"""Pure functions that turn images and counts into figures, and figures into intervals."""

from sepme.metrics.drift import feature_distance, largest_difference, psnr
from sepme.metrics.intervals import median_interval, paired_drop, wilson

__all__ = [
    "feature_distance",
    "largest_difference",
    "median_interval",
    "paired_drop",
    "psnr",
    "wilson",
]
