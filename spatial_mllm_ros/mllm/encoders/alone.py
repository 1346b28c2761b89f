"""Exported encoders by themselves: geometry from colour on a machine without torch, and no answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from ...errors import ErrorCode, SpatialError
from ...geometry.window import WindowGeometry
from ..calibration import Calibration
from ..images import Frames
from ..weights.digest import encoders_digest
from ..weights.shipped import NANO, find_shipped
from .exported import read_exported
from .files import FileEncoders

FILES = ("spatial.onnx", "geometry.onnx")
NO_ANSWERS = "questions need torch, which is not installed: pip install 'spatial_mllm_ros[mllm]'"


class GeometryAlone:
    """What of an engine there is: see ``answering.engine.Engine``.

    Attributes:
        name: what it is. calibration: none. encoders: what runs them. taken: what is said of it once it is loaded.
    """

    def __init__(self, encoders: FileEncoders):
        self.name, self.calibration, self.encoders = "exported encoders alone", Calibration(), encoders
        for name in ("spatial", "geometry"):
            encoders.load(name)
        self.taken = f"without torch: geometry alone, by {encoders.said}"

    def geometry(self, images: Frames) -> WindowGeometry:
        """Depth and cameras of a clip; see ``view.window``."""
        return self.encoders.window(images)

    def drop(self, key: Any) -> None:
        """Nothing is kept."""

    def ask(self, *_: Any, **options: Any) -> NoReturn:
        raise SpatialError(ErrorCode.MODEL_NOT_READY, NO_ANSWERS)

    encode = answer = ask


def load_engine(
    path: str | Path,
    *,
    encoders: str | Path = "",
    provider: str = "auto",
    device: str = "auto",
    progress: Callable[[str, float], None] = lambda stage, part: None,
    **options: Any,
) -> GeometryAlone:
    """As ``answering.engine.load_engine``, where there is no torch.

    Args:
        path: of the model; where it is on this machine, the encoders have to be its own.
    Raises:
        SpatialError: no encoders are given, or they cannot be used.
    """
    if not encoders:
        raise SpatialError(ErrorCode.BAD_REQUEST, NO_ANSWERS)
    progress("loading", 0.0)
    exported = read_exported(encoders)
    place = find_shipped() if str(path) == NANO else Path(path).expanduser()
    if place is not None and place.exists():
        exported.check_model(encoders_digest(place))
    engine = GeometryAlone(FileEncoders(exported, provider, device, names=FILES, tell=progress))
    progress("ready", 1.0)
    return engine
