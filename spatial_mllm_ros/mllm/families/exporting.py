"""From a checkpoint to a folder of exported encoders, whatever its family."""

import shutil
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import bad
from ...files import left_behind, whole_folder
from ..encoders.export.graph import Extent, Range
from ..encoders.export.write import write
from ..encoders.exported import ABOUT, MOST_FRAMES, MOST_PIXELS, PRECISIONS
from ..weights.digest import encoders_digest
from ..weights.files import show
from . import family_of

CAMERAS = ((480, 640), (720, 1280))  # height and width of pictures that a model is exported for where no size is named


def export(
    model: str | Path,
    out: str | Path,
    pictures: Callable[[], Sequence[NDArray[np.uint8]]],
    precision: str = "fp32",
    frames: tuple[int, int, int] = (1, 16, 32),
    sizes: Sequence[tuple[int, int]] = (),
    overwrite: bool = False,
    progress: Callable[[str, float], None] = lambda stage, part: None,
) -> dict[str, Any]:
    """Writes the encoders of a model as ONNX files, for any clip in a range, each checked against torch.

    Args:
        model: folder or hub id of a Spatial-MLLM or a VGGT. out: new folder.
        pictures: gives RGB uint8 [h, w, 3], at least one, that files are checked with, beside noise.
        precision: ``fp32`` or ``fp16``.
        frames: least, usual and most of a clip.
        sizes: heights and widths, pixels, the usual one first: any between the least and the most. Empty: what pictures
            of 640x480 and 1280x720 become.
        overwrite: replace an export.
        progress: is told the stage, and the part of all that is done.
    Returns:
        What ``encoders.json`` says.
    Raises:
        SpatialError: no such model; BAD_REQUEST for what is asked; a file that misses what it has to keep to, which is
            then not written.
    """
    if precision not in PRECISIONS:
        raise bad(f"precision '{precision}': expected fp32 or fp16")
    out = Path(out).expanduser().resolve()
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        if not overwrite:
            raise bad(f"{out.name} exists already: choose another name, or --overwrite it")
        if not (out / ABOUT).is_file():
            raise bad(f"{out.name} has no {ABOUT}: expected an export, nothing else is overwritten")
    family = import_module(f".{family_of(model)}", __package__)
    parts = family.parts_to_export(model)
    within = _range(frames, sizes or parts.sizes(CAMERAS), parts.patch, parts.even, bool(sizes))
    about = {
        "model": encoders_digest(parts.weights),
        "name": show(model),
        "range": within.pixels(parts.patch),
        **parts.about,
    }
    for left in left_behind(out):
        shutil.rmtree(left, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(out) as folder:
        return write(folder, parts.graphs(), within, parts.patch, pictures(), about, precision, progress)


def _range(
    frames: tuple[int, int, int], sizes: Sequence[tuple[int, int]], patch: int, even: bool, asked: bool
) -> Range:
    """Raises BAD_REQUEST for what no clip can have."""
    low, usual, high = frames
    unit = 2 if even else 1
    multiple = patch * unit
    if not 1 <= low <= usual <= high <= MOST_FRAMES:
        raise bad(f"frames {low}:{usual}:{high}: expected MIN <= OPT <= MAX, from 1 to {MOST_FRAMES}")
    if even and (usual % 2 or high % 2):
        raise bad(f"frames {low}:{usual}:{high}: OPT and MAX must be even, frames are seen in pairs")
    for height, width in sizes if asked else ():
        if not (0 < height <= MOST_PIXELS and 0 < width <= MOST_PIXELS) or height % multiple or width % multiple:
            near = [min(MOST_PIXELS // multiple, max(1, round(side / multiple))) * multiple for side in (height, width)]
            raise bad(
                f"size {height}x{width}: expected multiples of {multiple} pixels up to {MOST_PIXELS}, such as"
                f" {near[0]}x{near[1]}"
            )

    def extent(sides: list[int]) -> Extent:
        least, first, most = min(sides) // patch, sides[0] // patch, max(sides) // patch
        return Extent(max(unit, least // unit * unit), first, -(-most // unit) * unit)

    heights, widths = ([size[i] for size in sizes] for i in range(2))
    return Range(Extent(low, usual, high), extent(heights), extent(widths))
