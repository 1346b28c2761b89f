"""A calibration as tables for people, and as a picture."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spatial_mllm_ros.cli.show import plain_table
from spatial_mllm_ros.files import whole

from .measure import Found
from .scales import bins_of
from .thresholds import REFUSED, WRONGLY


def lines(found: Found) -> Iterator[Any]:
    """What was found: confidences by kind of answer, and the two thresholds."""
    table = plain_table("answers", "number", "right", "error before", "after", right=("number", "right", "after"))
    for name, kind in found.kinds.items():
        row = (f"{kind.count}", f"{kind.accuracy:.1%}", f"{kind.before:.3f}", f"{kind.after:.3f}")
        table.add_row(name.replace("_", " "), *row)
    yield table
    yield "Errors are expected calibration errors over 15 bins of equal mass, before and after calibration."
    at = found.threshold
    kept = at.refused >= REFUSED and at.wrongly <= WRONGLY
    yield (
        f"Not observed from {at.value:.4f} on: {at.refused:.1%} of unanswerable questions are refused,"
        f" {at.wrongly:.1%} of answerable ones{'' if kept else f' (wanted: {REFUSED:.0%} and {WRONGLY:.0%})'}."
    )
    least = found.calibration.motion_confidence
    yield (
        f"Motion: a reward from a confidence of {least:.2f} on: {found.rewards[0]} of {found.motion_count} answers,"
        f" {found.rewards[1]:.0%} of them right."
        if least is not None
        else f"Motion: none of {found.motion_count} answers would be a reward; too few are right."
    )


def draw(found: Found, path: Path) -> None:
    """Reliability diagrams before and after (Guo et al., 2017, figure 4), as PNG. Raises OSError."""
    from matplotlib.figure import Figure

    before, after, right = found.curves
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    figure.suptitle(f"Reliability of {len(right)} answers, {len(bins_of(before))} bins of equal mass")
    every = found.kinds["all"]
    for axes, sure, error, title in zip(
        figure.subplots(1, 2, sharey=True),
        (before, after),
        (every.before, every.after),
        ("bare", "calibrated"),
        strict=True,
    ):
        means = [(sure[part].mean(), right[part].mean()) for part in bins_of(sure)]
        axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
        axes.plot(*np.transpose(means), color="#0f766e", marker="o", markersize=4)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="confidence", title=f"{title}: error {error:.3f}")
        axes.grid(color="0.9")
    figure.axes[0].set_ylabel("share that is right")
    with whole(path) as beside:
        figure.savefig(beside, format="png", dpi=120)
