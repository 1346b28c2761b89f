"""Selection in one pass: frames come without end, the k that cover the scene best are always at hand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .distinct import DistinctCounter
from .ledger import Ledger
from .select import greedy_cover
from .voxels import check_voxel_size, voxel_indices, voxel_keys

FrameId = Any  # whatever is hashable, but None


@dataclass(frozen=True)
class Update:
    """What one frame changed.

    Attributes:
        accepted: the frame is held now.
        evicted: the frame that is not held any more, or None.
        gain: growth of ``voxels_covered``; 0 means that the selection is as it was.
    """

    accepted: bool
    evicted: FrameId | None
    gain: int


class StreamingCoverageSampler:
    """The k frames of a stream that cover the most voxels, by exchange with a small reserve.

    k frames are selected; ``reserve`` more are held that would add most to them. A new frame takes the place of a
    selected one when more is covered that way. The frame it replaces goes to the reserve, whose frames get the same
    chance after each exchange. Then the least useful frame of the reserve, the last in greedy order, is let go.

    Coverage never shrinks while frames are added, and is never less than the largest frame alone, so it is at least 1/k
    of the best k frames of the whole stream. Exchange by unique contribution is from Saha and Getoor ("On maximum
    coverage in the streaming model", SDM 2009, without their factor 2); the reserve brings it to the level of offline
    greedy selection for small k too.

    One pass, deterministic, and bounded: k + reserve sets of voxels, and ``max_voxels`` keys to count what was seen.
    Not thread safe.

    Args:
        k: frames to select, at least 1.
        voxel_size: edge of a voxel, metres.
        max_voxels: voxels up to which ``voxels_seen`` is exact, about 16 bytes each.
        reserve: frames held beside the selected ones; 0 is plain exchange.

    Raises:
        ValueError: an argument out of range.
    """

    def __init__(self, k: int, voxel_size: float, max_voxels: int = 4_194_304, reserve: int = 16):
        if k < 1:
            raise ValueError(f"k = {k}: expected at least 1 frame")
        if reserve < 0:
            raise ValueError(f"reserve = {reserve}: expected 0 or more frames")
        if max_voxels < 1:
            raise ValueError(f"max_voxels = {max_voxels}: expected at least 1")
        self.k = k
        self.voxel_size = check_voxel_size(voxel_size)
        self.reserve = reserve
        self._seen = DistinctCounter(max_voxels)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._seen.reset()
        self._frames: dict[FrameId, NDArray[np.int64]] = {}
        self._slots: dict[FrameId, int] = {}
        self._residuals: dict[FrameId, NDArray[np.int64]] = {}
        self._free = list(reversed(range(self.k)))
        self._ledger = Ledger(self.k)

    def add(self, frame_id: FrameId, points: NDArray) -> Update:
        """Offer a frame by its points [..., 3], metres in the world frame; those that are not finite are ignored."""
        return self.add_voxels(frame_id, voxel_keys(points, self.voxel_size))

    def add_voxels(self, frame_id: FrameId, keys: NDArray[np.int64]) -> Update:
        """Offer a frame by its voxels, as :func:`voxel_keys` gives them: sorted distinct int64 [V].

        Raises:
            ValueError: a frame of this id is held already, or keys are not sorted and distinct; nothing changes.
        """
        if frame_id in self._frames:
            raise ValueError(f"frame {frame_id!r} is held already: every frame needs an id of its own")
        if keys.ndim != 1 or keys.dtype != np.int64 or (keys.size and keys[0] < 0) or (keys[1:] <= keys[:-1]).any():
            raise ValueError(
                f"voxels of frame {frame_id!r}: expected sorted distinct int64 keys, as voxel_keys gives them"
            )
        if not keys.size:
            return Update(False, None, 0)
        self._seen.add(keys)
        before = len(self._ledger)
        self._frames[frame_id] = keys
        self._settle([frame_id])
        evicted = self._let_go() if len(self._frames) > self.k + self.reserve else None
        gain = len(self._ledger) - before
        return Update(evicted != frame_id, None if evicted == frame_id else evicted, gain)

    def remove(self, frame_id: FrameId) -> None:
        """Forget a held frame; the reserve takes its place where it can. ValueError for a frame that is not held."""
        if frame_id not in self._frames:
            raise ValueError(f"frame {frame_id!r} is not held")
        if frame_id in self._slots:
            self._leave(frame_id)
        del self._frames[frame_id]
        self._residuals.pop(frame_id, None)
        self._settle(self._reserve_ids())

    @property
    def selected(self) -> list[FrameId]:
        """The up to k selected frames, oldest first."""
        return [frame_id for frame_id in self._frames if frame_id in self._slots]

    @property
    def held(self) -> list[FrameId]:
        """Every frame that is or may become selected, oldest first: what was accepted and not evicted."""
        return list(self._frames)

    def voxels(self, frame_id: FrameId) -> NDArray[np.int64]:
        """The voxels of a held frame, as they were offered. KeyError for a frame that is not held."""
        return self._frames[frame_id]

    def select(self, k: int | None = None, keep: Callable[[FrameId], bool] | None = None) -> list[FrameId]:
        """The best of the held frames for which ``keep`` is true, at most k (default: as many as are selected at most).

        Returns:
            Ids by greedy coverage, best first; frames that add nothing are left out.
        """
        ids = [frame_id for frame_id in self._frames if keep is None or keep(frame_id)]
        order, _ = greedy_cover([self._frames[frame_id] for frame_id in ids], self.k if k is None else k)
        return [ids[i] for i in order]

    def gains(self) -> dict[FrameId, tuple[int, int]]:
        """For each selected frame, oldest first: voxels it sees, and voxels that no other selected frame sees."""
        alone = self._ledger.alone
        return {i: (self._frames[i].size, int(alone[self._slots[i]])) for i in self.selected}

    @property
    def voxels_seen(self) -> int:
        """Distinct voxels of all frames ever offered: exact up to ``max_voxels``, then estimated."""
        return len(self._seen)

    @property
    def voxels_covered(self) -> int:
        """Distinct voxels of the selected frames."""
        return len(self._ledger)

    @property
    def nbytes(self) -> int:
        """Memory of the voxels held and counted, bytes."""
        sets = (*self._frames.values(), *self._residuals.values())
        return sum(keys.nbytes for keys in sets) + self._ledger.nbytes + self._seen.nbytes

    def covered_centers(self) -> NDArray[np.float64]:
        """Centres of the covered voxels, float64 [V, 3], metres in the world frame."""
        return np.asarray((voxel_indices(self._ledger.keys) + 0.5) * self.voxel_size, np.float64)

    def _reserve_ids(self) -> list[FrameId]:
        return [frame_id for frame_id in self._frames if frame_id not in self._slots]

    def _settle(self, candidates: list[FrameId]) -> None:
        """Give a place to the candidate that adds most, then to any frame of the reserve, until none adds anything."""
        while True:
            offers = {frame_id: self._best_place(frame_id) for frame_id in candidates}
            newcomer = max(offers, key=lambda frame_id: offers[frame_id][0], default=None)
            if newcomer is None or offers[newcomer][0] <= 0:
                return
            slot = offers[newcomer][1]
            for frame_id in [frame_id for frame_id, taken in self._slots.items() if taken == slot]:
                self._leave(frame_id)
            self._free.remove(slot)
            self._slots[newcomer] = slot
            self._ledger.enter(self._frames[newcomer], slot)
            self._residuals.clear()
            candidates = self._reserve_ids()

    def _best_place(self, frame_id: FrameId) -> tuple[int, int]:
        """Growth of coverage with a frame in a free slot, or in that of the most dispensable frame, and the slot."""
        gain, losses = self._ledger.exchange(self._frames[frame_id])
        slot = self._free[-1] if self._free else int(losses.argmin())
        return gain - int(losses[slot]), slot

    def _leave(self, frame_id: FrameId) -> None:
        slot = self._slots.pop(frame_id)
        self._free.append(slot)
        self._ledger.leave(self._frames[frame_id], slot)
        self._residuals.clear()

    def _let_go(self) -> FrameId:
        """Drop the frame of the reserve that greedy takes last, or the newest of those that add nothing; its id."""
        ids = self._reserve_ids()
        for frame_id in ids:
            if frame_id not in self._residuals:
                self._residuals[frame_id] = self._ledger.uncovered(self._frames[frame_id])
        order, _ = greedy_cover([self._residuals[frame_id] for frame_id in ids], self.reserve)
        gone = ids[max(set(range(len(ids))) - set(order))]
        del self._frames[gone], self._residuals[gone]
        return gone
