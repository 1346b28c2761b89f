"""The scene that a question without filters is about, kept encoded so that the question finds it warm."""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from ..errors import ErrorCode, SpatialError
from ..frames import Frame
from ..mllm.process.remote import ModelProcess
from ..scene.memory import FrameKey
from ..scene.pipeline import SpatialPipeline

PASSING = (ErrorCode.CANCELED, ErrorCode.TIMEOUT, ErrorCode.MODEL_NOT_READY)  # why another try may succeed


@dataclass(frozen=True, eq=False)
class Kept:
    """Frames that were given to the model, and what was selected and covered then."""

    frames: Sequence[Frame]
    most: int
    epoch: int
    starts: int
    selected: list[FrameKey]
    voxels: NDArray[np.int64]


class QuestionFrames:
    """Chooses the frames of a question, and has them encoded in the background.

    While less than ``ask.refresh`` of the covered voxels is new, a question without filters is shown the frames that
    are encoded already. Without geometry there is nothing to tell change by: every question gets frames of its own.
    """

    def __init__(self, pipeline: SpatialPipeline, model: ModelProcess):
        self._pipeline, self._memory, self._model = pipeline, pipeline.memory, model
        self._kept: Kept | None = None
        self._failed: Kept | None = None
        self._lock = Lock()

    def choose(
        self, start_ns: int, end_ns: int, cameras: Sequence[str], max_frames: int
    ) -> tuple[Sequence[Frame], int]:
        """The frames of a question, in order of time, and the epoch of memory that they are from.

        Never more than the model was trained with: :meth:`remark` says so.

        Raises:
            SpatialError: NO_FRAMES.
        """
        most = self._model.calibration.frames(max_frames or self._model.params.max_frames)
        epoch = self._pipeline.epoch
        if start_ns or end_ns or cameras:
            return self._memory.frames(start_ns, end_ns, cameras, most), epoch
        with self._lock:
            kept = self._kept
            if kept is None or kept.most != most or self._is_old(kept):
                kept = self._now(most)
                if most == self._model.max_frames:
                    self._kept = kept
            return kept.frames, kept.epoch

    def remark(self, shown: int, max_frames: int) -> str:
        """What to say to who asked for ``max_frames`` (0: as the parameter says), and is shown fewer; or nothing."""
        return self._model.calibration.remark(shown, max_frames or self._model.params.max_frames)

    def warm(self) -> None:
        """Have the scene encoded if it has changed enough and the model has nothing else to do."""
        state, params = self._model.state, self._model.params
        if state.stage != "ready" or state.waiting or params.refresh >= 1 or not self._memory.state().voxels_covered:
            return
        with self._lock:
            kept = self._kept
            if (
                kept
                and (kept is self._failed or kept.starts == state.restarts)
                and kept.most == self._model.max_frames
                and not self._is_old(kept)
            ):
                return
            try:
                kept = self._kept = self._now(self._model.max_frames)
                warmed = self._model.warm(kept.frames, kept.epoch)
            except SpatialError:
                return  # no frames, or the model has just ended: the next time will tell
        warmed.add_done_callback(lambda future: self._warmed(kept, future.exception()))

    def _warmed(self, kept: Kept, error: BaseException | None) -> None:
        """A scene that gave way is tried again; one that cannot be encoded is not, until another is to be shown."""
        with self._lock:
            if isinstance(error, SpatialError) and error.code in PASSING:
                self._kept = None if self._kept is kept else self._kept
            elif error is not None:
                self._failed = kept

    def _now(self, most: int) -> Kept:
        epoch, selected = self._pipeline.epoch, self._selected()
        return Kept(
            frames=self._memory.frames(max_frames=most),
            most=most,
            epoch=epoch,
            starts=self._model.state.restarts,
            selected=selected,
            voxels=self._voxels(),
        )

    def _is_old(self, kept: Kept) -> bool:
        """Whether so much is new since then that another scene should be shown."""
        if kept.epoch != self._pipeline.epoch or not kept.voxels.size:
            return True
        if self._selected() == kept.selected:
            return False
        refresh = self._model.params.refresh
        voxels = self._voxels()
        return refresh >= 1 or not voxels.size or np.isin(voxels, kept.voxels).mean() <= 1 - refresh

    def _selected(self) -> list[FrameKey]:
        return [selected.frame.key for selected in self._memory.selected]

    def _voxels(self) -> NDArray[np.int64]:
        """The covered voxels as numbers, int64 [V]."""
        cells = np.floor(self._memory.covered_voxels() / self._memory.state().voxel_size).astype(np.int64)
        return cells @ np.array([1, 1 << 20, 1 << 40])
