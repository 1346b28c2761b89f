"""Rewards of frames: what was gained from each to the next, how sure that is, and whether it was measured at all."""

import hashlib
import warnings
from array import array
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..annotate.bag import annotate, model_key
from ..annotate.progress import fingerprint
from ..config import Config
from ..motion.targets import GEOMETRY, Target
from ..recordings.errors import BagError, BagWarning
from ..recordings.recording import Recording
from .dataset import SOURCE
from .guess import cameras_of, recorded_rewards
from .map import RewardOf, nearest
from .resample import SLACK_NS, Piece
from .work import KEPT

if TYPE_CHECKING:
    from ..mllm.answering.engine import Engine

CAMERA = "camera"
UNKNOWN = -1.0  # a standard deviation that nobody knows, as covariances of ROS say it: readers refuse NaN


@dataclass(frozen=True)
class Rewards:
    """All rewards of one target from one source, in order of time.

    Attributes:
        target: its label. stamps: int64 [N]. valid: bool [N]. gained: metres, float64 [N], 0 where not valid.
        stddev: metres, of the distance, float64 [N]; NaN where not known.
    """

    target: str
    stamps: NDArray[np.int64]
    valid: NDArray[np.bool_]
    gained: NDArray[np.float64]
    stddev: NDArray[np.float64]

    @property
    def sure(self) -> bool:
        """Whether anything is known of how sure they are."""
        return bool(np.isfinite(self.stddev).any())


@dataclass
class Rewarding:
    """How rewards come about where a recording has none: see :func:`annotate`, which these are arguments of."""

    targets: Collection[Target] = ()
    config: Config | None = None
    engine: "Engine | None" = None
    sources: dict[str, Any] = field(default_factory=dict)

    def told(self) -> str:
        """All that these rewards depend on besides the recording."""
        model = model_key(self.engine) if self.engine else ""
        return f"{self.targets!r} {self.config!r} {model} {self.sources!r}"


def rewards_of(recording: Recording, which: RewardOf, rewarding: Rewarding, beside: Path) -> Rewards | None:
    """Recorded rewards where there are some and no targets are named; else measured ones, which are kept ``beside``.

    None, which a BagWarning says, where no target was asked for and there is no camera to measure with.

    Raises:
        BagError, SpatialError: see :func:`annotate`.
    """
    if recorded_rewards(recording, which.topic) and not rewarding.targets:
        return read_rewards(recording, which)
    if not rewarding.targets and not which.target and not cameras_of(recording, **rewarding.sources):
        none = "no rewards were recorded, and there is no camera with a camera_info to measure them: they are left out"
        warnings.warn(f"{recording.path.name}: {none}", BagWarning, stacklevel=2)
        return None
    path = beside / f"{KEPT}{digest(fingerprint(recording.path), rewarding.told())[:16]}.mcap"
    if not path.exists():
        options: dict[str, Any] = {"config": rewarding.config, "engine": rewarding.engine, **rewarding.sources}
        annotate(recording.path, path, targets=rewarding.targets, topics=(), **options)
    with Recording(path) as measured:
        return read_rewards(measured, RewardOf(target=which.target, source=which.source))


def read_rewards(recording: Recording, which: RewardOf) -> Rewards:
    """Rewards of a recording that has them; each target and source is a series of its own, and one is taken.

    Where the map names no source it is geometry, else the model. Which one is told by a BagWarning where there are
    both, or where it is not geometry.

    Raises:
        BagError: it has none of that target or source; the text has the nearest that is there.
    """
    columns: dict[tuple[str, str], tuple[array, array, array, array]] = {}
    for _, _, message in recording.decoded([which.topic]):
        stamps, valid, gained, stddev = columns.setdefault(
            (message.target, message.source), (array("q"), array("b"), array("d"), array("d"))
        )
        stamps.append(message.header.stamp.sec * 10**9 + message.header.stamp.nanosec)
        valid.append(message.valid)
        gained.append(message.reward if message.valid else 0.0)
        stddev.append(getattr(message, "stddev", float("nan")) if message.valid else float("nan"))
    target = which.target or next((label for label, _ in columns if label != CAMERA), CAMERA)
    sources = sorted(source for label, source in columns if label == target)
    if not sources:
        raise BagError(f"{recording.path.name} has no rewards of {target}{nearest(target, {t for t, _ in columns})}")
    source = which.source or (GEOMETRY if GEOMETRY in sources else sources[0])
    if source not in sources:
        raise BagError(f"{recording.path.name} has no rewards of {target} from {source}{nearest(source, sources)}")
    if not which.source and sources != [GEOMETRY]:
        taken = f"rewards of {target} are there from {' and '.join(sources)}: those from {source} are taken"
        warnings.warn(f"{recording.path.name}: {taken}", BagWarning, stacklevel=2)
    stamps, valid, gained, stddev = (np.array(column) for column in columns[target, source])
    order = np.argsort(stamps, kind="stable")
    return Rewards(target, stamps[order], valid[order].astype(bool), gained[order], stddev[order])


def targets_there(path: Path) -> set[str]:
    """Whose rewards the episodes of a data set have."""
    import pyarrow.parquet as pq

    column = f"{SOURCE}target"
    rows = path.glob("meta/episodes/*/*.parquet")
    return {label for file in rows for label in pq.read_table(file, columns=[column])[column].to_pylist() if label}


def reward_columns(
    rewards: Rewards, piece: Piece
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """(reward, standard deviation, whether it is valid) of the frames of a piece, [N] each.

    That of a frame is what was gained after it, up to the next frame; of the last one, up to the end. It is valid where
    a valid reward was measured in that time; the standard deviation is the last one's of these, UNKNOWN where it has
    none.
    """
    edges = np.append(piece.ticks, max(piece.stop_ns, piece.ticks[-1])) + SLACK_NS
    stamps, gained, stddev = (column[rewards.valid] for column in (rewards.stamps, rewards.gained, rewards.stddev))
    at = np.searchsorted(stamps, edges, "right")
    sums = np.concatenate([[0.0], np.cumsum(gained)])
    valid = at[1:] > at[:-1]
    last = stddev[np.maximum(at[1:] - 1, 0)] if stddev.size else np.zeros(len(valid))
    known = np.where(valid & np.isfinite(last), last, UNKNOWN)
    return (sums[at[1:]] - sums[at[:-1]]).astype(np.float32), known.astype(np.float32), valid


def digest(*texts: str) -> str:
    """What tells these texts from all others."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
