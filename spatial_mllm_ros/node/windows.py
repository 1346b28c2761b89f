"""The thread that has windows of frames seen by a model, where coverage needs geometry from colour alone."""

from collections.abc import Callable
from threading import Event, Thread
from traceback import format_exc
from typing import Any

from ..errors import ErrorCode, SpatialError
from ..frames import Frame
from ..geometry.window import WindowGeometry
from ..mllm.process.remote import ModelProcess
from ..pipeline import SpatialPipeline

RETRY = 1.0  # s between looks at a model that is not ready


class Windows:
    """Takes windows from the pipeline and brings their geometry, one at a time.

    Args:
        pipeline: has the windows.
        model: sees them; None: there is nothing to do.
        added: called after a window changed the map.
        log: the node's logger.
    """

    def __init__(self, pipeline: SpatialPipeline, model: ModelProcess | None, added: Callable[[], None], log: Any):
        self._pipeline, self._model, self._added, self._log = pipeline, model, added, log
        self._arrived = Event()
        self._stopping = False
        self._thread = Thread(target=self._run, name="windows")
        if model is not None:
            self._thread.start()

    def look(self) -> None:
        """A frame was processed: there may be a window."""
        self._arrived.set()

    def close(self) -> None:
        """After the model was closed."""
        self._stopping = True
        self._arrived.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        assert self._model is not None
        ready = True
        while not self._stopping:
            self._arrived.wait(None if ready else RETRY)
            self._arrived.clear()
            try:
                ready = self._model.state.stage == "ready"
                while ready and not self._stopping and (frames := self._pipeline.next_window()):
                    self._see(frames)
            except Exception:
                self._log.error(f"a window of frames failed:\n{format_exc()}", throttle_duration_sec=10.0)

    def _see(self, frames: list[Frame]) -> None:
        assert self._model is not None
        geometry: WindowGeometry | None = None
        try:
            geometry = self._model.geometry(frames).result()
        except SpatialError as error:
            if error.code != ErrorCode.CANCELED:
                self._log.warning(f"no geometry for {len(frames)} frames: {error}", throttle_duration_sec=10.0)
        result = self._pipeline.add_window(frames, geometry)
        if result.accepted:
            self._added()
        elif geometry is not None:
            self._log.warning(f"a window of frames is refused: {result.reason}", throttle_duration_sec=10.0)
