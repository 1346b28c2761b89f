"""Windows of frames are seen by a model, where coverage needs geometry from colour alone."""

from collections.abc import Callable
from typing import Any

from ..errors import ErrorCode, SpatialError
from ..frames import Frame
from ..geometry.window import WindowGeometry
from ..mllm.process.remote import ModelProcess
from ..scene.pipeline import SpatialPipeline
from .beside import Beside


class Windows(Beside[list[Frame]]):
    """Takes windows from the pipeline and brings their geometry, one at a time.

    Args:
        pipeline: has the windows.
        added: called after a window changed the map.
        model, log: see ``Beside``.
    """

    def __init__(self, pipeline: SpatialPipeline, model: ModelProcess, added: Callable[[], None], log: Any):
        super().__init__("a window of frames", model, log)
        self._pipeline, self._added = pipeline, added
        self.start()

    def next(self) -> list[Frame] | None:
        return self._pipeline.next_window()

    def do(self, piece: list[Frame]) -> None:
        geometry: WindowGeometry | None = None
        try:
            geometry = self._model.geometry(piece).result()
        except SpatialError as error:
            if error.code != ErrorCode.CANCELED:
                self._log.warning(f"no geometry for {len(piece)} frames: {error}", throttle_duration_sec=10.0)
        result = self._pipeline.add_window(piece, geometry)
        if result.accepted:
            self._added()
        elif geometry is not None:
            self._log.warning(f"a window of frames is refused: {result.reason}", throttle_duration_sec=10.0)
