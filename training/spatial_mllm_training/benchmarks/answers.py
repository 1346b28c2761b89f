"""Where answers come from: a file of predictions, or a model that is shown each record."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spatial_mllm_ros.errors import BadMessage, ErrorCode, SpatialError
from spatial_mllm_ros.evenly import evenly
from spatial_mllm_ros.mllm import Answer, Verdict
from spatial_mllm_ros.mllm.calibration import known_calibration
from spatial_mllm_ros.mllm.weights.shipped import chosen
from spatial_mllm_ros.recordings.pictures import read_picture

from ..multispa.item import bad
from ..multispa.question import question_of
from .reading import is_refusal
from .suites import read_lines, take

if TYPE_CHECKING:
    from spatial_mllm_ros.config import AskParams
    from spatial_mllm_ros.mllm.answering.engine import Engine

REFUSAL = "not visible"
Record = dict[str, Any]


def read_predictions(path: Path) -> dict[str, Any]:
    """Predictions of a JSONL file of ``{"id": ..., "prediction": ...}``, by id as text.

    Raises:
        SpatialError: BAD_REQUEST with the line that is something else, or the id that is there twice.
    """
    found: dict[str, Any] = {}
    for number, row in enumerate(read_lines(path), 1):
        name = str(take(row, "id", (str, int), f"{path.name}, prediction {number}"))
        if "prediction" not in row:
            raise bad(f"{path.name}, prediction {number}: field 'prediction' is missing; it has {', '.join(row)}")
        if name in found:
            raise bad(f"{path.name}: id '{name}' is there twice")
        found[name] = row["prediction"]
    return found


class Model:
    """A Spatial-MLLM as a function from a record to text; it is loaded when it is first asked.

    Args:
        params: which model, where, and how many frames it is shown at most (evenly spread; 0: as many as it
            was trained with).
        root: what the images of records are relative to.
    """

    def __init__(self, params: AskParams, root: Path):
        self._params, self._root = params, root

    def __call__(self, record: Record) -> str:
        """Raises SpatialError: the model cannot be loaded or cannot answer, or an image is missing."""
        answer = self.ask(record)
        return REFUSAL if answer.verdict == Verdict.NOT_OBSERVED and not is_refusal(answer.text) else answer.text

    def ask(self, record: Record, **options: Any) -> Answer:
        """The answer to a record; ``options`` go to ``Engine.ask``. Raises SpatialError as above."""
        images = self._images(record)
        return self.engine.ask(images, question_of(record), **options)

    @cached_property
    def engine(self) -> Engine:
        """The model, loaded."""
        from spatial_mllm_ros.cli.model import load_engine

        return load_engine(self._params)

    @cached_property
    def _most(self) -> int:
        return self._params.max_frames or known_calibration(chosen(self._params.model), self._params.adapter).frames()

    def _images(self, record: Record) -> list[NDArray[np.uint8]]:
        """What the record shows, RGB uint8 [H, W, 3]."""
        paths, video = record["images"], record["meta"].get("video", "")
        if not paths and not video:
            raise SpatialError(
                ErrorCode.NO_FRAMES, f"record {record['id']}: neither images nor a video beside the data"
            )
        if video:
            from spatial_mllm_ros.config import build
            from spatial_mllm_ros.recordings import read_any
            from spatial_mllm_ros.scene.asking import choose_frames

            frames = choose_frames(read_any(self._root / video), build({"coverage.frames": self._most}).coverage)
            return [frame.image for frame in frames if frame.image is not None]
        return [read_image(self._root / paths[i]) for i in evenly(len(paths), self._most)]


def read_image(path: Path) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3]. Raises SpatialError NO_FRAMES where there is none, or none that can be decoded."""
    if (image := decoded(path)) is None:
        raise SpatialError(ErrorCode.NO_FRAMES, f"{path.name} is missing, or no image that can be decoded")
    return image


def decoded(source: Path | bytes) -> NDArray[np.uint8] | None:
    """RGB uint8 [H, W, 3] of a file or its content; None where there is none, or none that can be decoded."""
    try:
        return read_picture(source)
    except BadMessage:
        return None
