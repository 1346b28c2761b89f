"""A folder of exported encoders: which model they are of, and for which clips. Needs no torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ErrorCode, SpatialError

ABOUT = "encoders.json"
FORMAT = 1  # of that file
PARITY = {"fp32": 1e-5, "fp16": 1e-3}
"""Largest difference from torch as a part of the largest value; in half precision the relative L2 norm of all."""
PRECISIONS = tuple(PARITY)
MOST_FRAMES, MOST_PIXELS, MOST_WINDOW = 128, 4096, 64  # of a clip; of a side; tokens of a window's side
LONGEST = 10_000_000  # bytes of that file


class EncodersError(SpatialError):
    """Exported encoders that cannot be used: what is wrong, and what would be right."""

    def __init__(self, message: str):
        super().__init__(ErrorCode.BAD_REQUEST, message)


@dataclass(frozen=True)
class Exported:
    """What ``spatial-mllm export`` wrote.

    Attributes:
        folder: where. about: what ``encoders.json`` says.
    """

    folder: Path
    about: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """What tells this export from others."""
        return sha256(json.dumps(self.about, sort_keys=True).encode()).hexdigest()

    @property
    def precision(self) -> str:
        """``fp32`` or ``fp16``."""
        return self.about["precision"]

    def precision_of(self, file: str) -> str:
        """That of one file: one may be fp32 in a folder of fp16."""
        parity = self.about["files"][file].get("parity")
        allowed = parity.get("allowed") if isinstance(parity, dict) else None
        return "fp32" if allowed == PARITY["fp32"] else self.precision

    @property
    def patch(self) -> int:
        """Side of a patch of the VGGT, pixels."""
        return self.about["vggt"]["patch_size"]

    @property
    def longest(self) -> int:
        """Most pixels of a side that the VGGT was made for."""
        return self.about["vggt"]["img_size"]

    @property
    def levels(self) -> Sequence[str]:
        """Values of ``spatial.onnx`` that ``geometry.onnx`` reads."""
        return self.about["vggt"]["geometry"]

    @property
    def shown(self) -> int:
        """Frames whose depth is computed at once."""
        return self.about["vggt"]["shown"]

    @property
    def window(self) -> int:
        """Side of a window of the 2D encoder, in tokens; 0: it has none."""
        return self.about.get("window", 0)

    @property
    def connector(self) -> str:
        """The value of ``spatial.onnx`` that ``connector.onnx`` reads; empty: it has no such file."""
        return self.about.get("connector", "")

    def file(self, name: str) -> Path:
        """Raises EncodersError where it is missing, or what it needs."""
        if name not in self.about["files"]:
            raise EncodersError(f"encoders in {self.folder.name}: no {name}: export a model that has it")
        if not (path := self.folder / name).is_file():
            raise EncodersError(f"encoders in {self.folder.name}: {name} is missing: export them again")
        return path

    def profiles(self, name: str) -> Mapping[str, Mapping[str, Sequence[int]]]:
        """Least, usual and largest shape of each input of a file that is there, see :meth:`file`."""
        return self.about["files"][name]["profiles"]

    def check_model(self, digest: str) -> None:
        """Raises EncodersError where they are of another model."""
        if self.about["model"] != digest:
            ours, theirs = self.about["model"][:12], digest[:12]
            raise EncodersError(
                f"encoders in {self.folder.name} are of model {ours}, the model that answers is {theirs}: export it"
            )


def read_exported(folder: str | Path) -> Exported:
    """The encoders of a folder, of which no file is read yet.

    Raises:
        EncodersError: there are none, or of a newer format than is known here.
    """
    folder = Path(folder).expanduser()
    try:
        with (folder / ABOUT).open("rb") as file:
            about = json.loads(file.read(LONGEST))
    except OSError:
        raise EncodersError(f"no {ABOUT} in {folder}: expected a folder that spatial-mllm export wrote") from None
    except (ValueError, RecursionError):
        raise EncodersError(f"{ABOUT} in {folder} is no readable JSON: export the encoders again") from None
    found = about.get("format") if isinstance(about, dict) else None
    if found != FORMAT:
        newer = isinstance(found, int) and found > FORMAT
        remedy = "a newer spatial_mllm_ros wrote it, update this one" if newer else "export the encoders again"
        raise EncodersError(f"{ABOUT} in {folder} has format {str(found)[:20]}, expected {FORMAT}: {remedy}")
    return Exported(folder, _checked(about, folder))


def shape_of(value: Any) -> tuple[int, ...]:
    """Of an array, or of a value that a file gave."""
    return tuple(value.shape if isinstance(value, np.ndarray) else value.shape())


def check_shapes(file: str, profiles: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises EncodersError where inputs have sizes that a file was not exported for."""
    for name, shape in shapes.items():
        low, high = (profiles[name][point] for point in ("min", "max"))
        if len(shape) != len(low) or not all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True)):
            spans = " x ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in zip(low, high, strict=True))
            given = " x ".join(map(str, shape))
            raise EncodersError(
                f"{file} was exported for {name} of {spans}, not for {given}: export the encoders with"
                " --frames and --size that hold it"
            )


def _checked(about: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Whether it says what is needed, of the types that are needed. Raises EncodersError."""
    kinds = {"model": str, "precision": str, "files": dict, "vggt": dict}
    odd = [name for name, kind in kinds.items() if not isinstance(about.get(name), kind)]
    if not odd:
        vggt, levels = about["vggt"], about["vggt"].get("geometry")
        numbers = {name: vggt.get(name) for name in ("patch_size", "img_size", "shown")}
        odd = [name for name, n in numbers.items() if type(n) is not int or not 0 < n < 2**16]
        odd += [] if isinstance(levels, list) and len(levels) == 4 and all(map(_is_name, levels)) else ["geometry"]
        odd += [] if _is_name(about.get("connector", "layer_0")) else ["connector"]
        odd += [] if type(about.get("window", 0)) is int and 0 <= about.get("window", 0) <= MOST_WINDOW else ["window"]
    for name, file in about["files"].items() if not odd else ():
        profiles = file.get("profiles") if isinstance(file, dict) else None
        good = isinstance(profiles, dict) and all(_is_profile(profile) for profile in profiles.values())
        odd += [] if good and "/" not in name and name.endswith(".onnx") else [name]
    if not odd:
        images = about["files"].get("spatial.onnx", {}).get("profiles", {}).get("images")
        most = (MOST_FRAMES, 3, MOST_PIXELS, MOST_PIXELS)
        fits = images and all(len(images[p]) == 4 and all(1 <= n <= m for n, m in zip(images[p], most)) for p in images)
        odd = [] if fits else ["spatial.onnx"]
        odd += [] if about["precision"] in PRECISIONS else ["precision"]
    if odd:
        raise EncodersError(f"{ABOUT} in {folder}: {odd[0]} is not as export writes it: export the encoders again")
    return about


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.isidentifier()


def _is_profile(profile: Any) -> bool:
    if not isinstance(profile, dict):
        return False
    shapes: list[Any] = [profile.get(point) for point in ("min", "opt", "max")]
    if not all(isinstance(shape, list) for shape in shapes):
        return False
    whole = all(type(n) is int and 0 <= n < 2**31 for shape in shapes for n in shape)
    return whole and len({len(shape) for shape in shapes}) == 1
