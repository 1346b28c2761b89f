"""Frames in, those that cover best stay: how a recording is gone through."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from ..config import CoverageParams
from ..coverage import StreamingCoverageSampler, greedy_cover
from ..errors import BadMessage
from ..frames import Frame
from .memory import FrameKey, frame_voxels

REPEATED = "a stamp that was there before"


class Cover:
    """The frames of a recording that cover its scene best, in one pass.

    Attributes:
        sampler: what selects; its ids are the keys of frames.
        frames: those that it holds, selected ones and its reserve.
        skipped: how many frames it was not given, by reason.
    """

    def __init__(self, params: CoverageParams):
        self.sampler = StreamingCoverageSampler(params.frames, params.voxel_size, params.max_voxels)
        self.frames: dict[FrameKey, Frame] = {}
        self.skipped: Counter[str] = Counter()
        self._params = params

    def voxels(self, frame: Frame) -> NDArray[np.int64] | None:
        """What a frame sees, sorted distinct int64 [V]; None, and the reason counted, where it cannot be offered.

        Decoded pixels are kept.
        """
        reason = why_unusable(frame) or (REPEATED if frame.key in self.frames else "")
        if not reason:
            try:
                return frame_voxels(frame, self._params)
            except BadMessage as error:
                reason = f"broken depth ({error})"
        self.skipped[reason] += 1
        return None

    def offer(self, frame: Frame, voxels: NDArray[np.int64]) -> None:
        """Let a frame compete by what :meth:`voxels` gave for it."""
        update = self.sampler.add_voxels(frame.key, voxels)
        if update.accepted:
            self.frames[frame.key] = frame
        if update.evicted is not None:
            del self.frames[update.evicted]

    def best(self) -> tuple[list[Frame], list[int]]:
        """The selected frames, best first, and the voxels that each adds to those before it."""
        selected = self.sampler.selected
        order, gains = greedy_cover([self.sampler.voxels(key) for key in selected], self._params.frames)
        return [self.frames[selected[i]] for i in order], gains


def why_unusable(frame: Frame) -> str:
    """What a frame lacks for coverage, or an empty string."""
    if not frame.has_depth:
        return "no depth"
    return "" if frame.world_from_camera is not None else "no camera pose"
