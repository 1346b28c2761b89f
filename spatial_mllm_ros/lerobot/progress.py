"""``sarm_progress.parquet``: how far each frame is from the start to the goal, for reward-aligned behaviour cloning."""

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RANGE = "share of the episode's own range: 0 where it had come least far, 1 where it had come farthest"
WAY = "share of the way from the start to the goal, which is {:g} m; not below 0, not above 1"
USUAL = 0.75  # share of the pauses between rewards that are no gap
FLAT = 1e-4  # m; an episode that comes no farther has no progress that could be told


def progress(gained: NDArray, valid: NDArray, way: float) -> NDArray[np.float32]:
    """Progress of each frame of an episode, [N], in [0, 1]; NaN where it is not known.

    Between two rewards the last value holds, for as many frames as three of four of them are apart at most. After that
    one is missing, or was not valid.

    Args:
        gained: metres from each frame to the next, [N]. valid: whether that was measured, [N].
        way: metres from the start to the goal; 0: the episode's own range is taken.
    """
    come = np.concatenate([[0.0], np.cumsum(gained[:-1], dtype=np.float64)])
    known = np.concatenate([[True], valid[:-1]])
    apart = np.diff(np.flatnonzero(valid))
    hold = np.quantile(apart, USUAL, method="lower") if apart.size else 1
    last = np.maximum.accumulate(np.where(known, np.arange(len(known)), 0))
    known = np.arange(len(known)) - last < hold
    low, high = (0.0, way) if way else (come[known].min(), come[known].max())
    if high - low < FLAT:
        return np.full(len(come), np.nan, np.float32)
    return np.where(known, np.clip((come - low) / (high - low), 0, 1), np.nan).astype(np.float32)


def metadata(targets: Sequence[str], ways: Sequence[float]) -> dict[str, str]:
    """What the file says of itself; a target and a way for each episode."""
    rules = sorted({WAY.format(way) if way else RANGE for way in ways})
    says = {"rules": rules, "targets": sorted(set(targets)), "unknown": "NaN", "ways_m": sorted(set(ways))}
    return {"reward_model_path": "spatial_mllm_ros/motion_reward", "spatial_mllm_ros": json.dumps(says, sort_keys=True)}
