"""A VGGT by itself: geometry, and no answers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from torch import nn

from ...errors import ErrorCode, SpatialError
from ...geometry.window import WindowGeometry
from ..encoders.export.graph import Parts
from ..encoders.files import FileEncoders
from ..encoders.vggt import VGGT
from ..encoders.vggt.graphs import about, graphs
from ..encoders.vggt.loading import load_vggt
from ..encoders.vggt.view import see_with, window
from ..encoders.view import fit
from ..weights.files import find_folder, show
from .base import SMALLEST, Images

NO_ANSWERS = "{} is a VGGT, which gives geometry but no answers: expected a Spatial-MLLM"


class GeometryModel:
    """See ``families.base.Model``."""

    ends: frozenset[int] = frozenset()

    def __init__(self, name: str, vggt: VGGT):
        weights = vggt.aggregator.camera_token
        self.name, self.device, self.dtype = name, str(weights.device), str(weights.dtype).removeprefix("torch.")
        self.vggt, self.smallest = vggt, SMALLEST
        self.why_no_answers = NO_ANSWERS.format(name)

    @property
    def parts(self) -> dict[str, nn.Module]:
        return {"spatial_encoder": self.vggt.aggregator}

    def geometry(self, images: Images) -> WindowGeometry:
        return window(lambda frames: see_with(self.vggt, frames), self.vggt.config, images, self.device)

    def see(self, *_: Any) -> NoReturn:
        raise SpatialError(ErrorCode.MODEL_NOT_READY, self.why_no_answers)

    read = question_ids = encode_text = decode = see


def parts_to_export(path: str | Path) -> Parts:
    """See ``families.exporting``."""
    vggt = load_vggt(path)
    size, patch = vggt.config.img_size, vggt.config.patch_size

    def sizes(pictures: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        return [fit(picture, size, patch) for picture in pictures]

    weights = Path(path) if Path(path).is_file() else find_folder(path)
    return Parts(weights, lambda: graphs(vggt), sizes, patch, False, about(vggt.config))


class ExportedModel(GeometryModel):
    """A VGGT of exported files, of which torch has nothing."""

    parts: dict[str, nn.Module] = {}  # noqa: RUF012

    def __init__(self, name: str, files: FileEncoders):
        self.name, self.device, self.dtype, self.files = name, files.way, files.exported.precision, files
        self.smallest, self.geometry = files.smallest, files.window
        self.why_no_answers = NO_ANSWERS.format(name)


def load(
    path: str | Path,
    adapter: str | Path,
    device: str,
    dtype: str,
    progress: Callable[[float], None],
    files: FileEncoders | None = None,
) -> GeometryModel:
    """Raises SpatialError as ``load_vggt``; BAD_REQUEST with an adapter."""
    if adapter:
        raise SpatialError(ErrorCode.BAD_REQUEST, f"an adapter needs a Spatial-MLLM, {show(path)} is a VGGT")
    return (
        ExportedModel(show(path), files)
        if files
        else GeometryModel(show(path), load_vggt(path, device, dtype, progress))
    )
