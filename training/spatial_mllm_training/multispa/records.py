"""What is written: records as conversation JSON lines and as Parquet that Hugging Face ``datasets`` reads."""

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import parquet

from spatial_mllm_ros.files import whole
from spatial_mllm_ros.frames import Frame

from .item import Candidate

if TYPE_CHECKING:
    from .wording import Worded

Record = dict[str, Any]

TOKEN = "<image>"
ROWS = 64  # of a Parquet file with images, kept in memory at a time

TEXT, BYTES = pa.string(), pa.binary()
SCHEMA = pa.schema(
    {
        "id": TEXT,
        "question_type": TEXT,
        "images": pa.list_(pa.struct({"bytes": BYTES, "path": TEXT})),
        "conversations": pa.list_(pa.struct({"from": TEXT, "value": TEXT})),
        "gt_value": TEXT,  # JSON, as in the lines: a number, a list or a text
        "meta": TEXT,  # JSON
    }
)
_VALUE = {"dtype": "string", "_type": "Value"}
FEATURES = {name: _VALUE for name in SCHEMA.names} | {
    "images": {"feature": {"_type": "Image"}, "_type": "Sequence"},
    "conversations": [{"from": _VALUE, "value": _VALUE}],
}
SCHEMA = SCHEMA.with_metadata({"huggingface": json.dumps({"info": {"features": FEATURES}})})


def record(
    identity: str,
    candidate: Candidate,
    frames: Sequence[Frame],
    images: Sequence[str],
    worded: "Worded",
    scene: str,
    split: str,
) -> Record:
    """One question with its answer.

    Args:
        frames: those of the candidate, in its order; images: their files, relative to the output folder.
        scene: ``source/name``.

    Returns:
        ``id``, ``question_type``, ``images``, ``conversations`` (one turn of each side; the question begins with an
        ``<image>`` line for each image), ``gt_value`` (millimetres, degrees, [right, down, forward] millimetres, or
        text) and ``meta``, which is enough to work the answer out again from the scene: see there.
    """
    camera = frames[0].camera
    return {
        "id": identity,
        "question_type": candidate.question_type,
        "images": list(images),
        "conversations": [
            {"from": "human", "value": f"{TOKEN}\n" * len(images) + worded.question},
            {"from": "gpt", "value": worded.answer},
        ],
        "gt_value": worded.gt_value,
        "meta": {
            "scene": scene,
            "stamps_ns": [frame.stamp_ns for frame in frames],
            "cameras": [frame.camera.name for frame in frames],
            "pixels": [[point.u, point.v] for point in candidate.points],
            "pixel_images": [point.image for point in candidate.points],
            "image_size": [camera.width, camera.height],
            "referring": candidate.referring,
            "output": candidate.output,
            "label": candidate.label,
            "options": list(worded.options),
            "bins": candidate.bins,
            "split": split,
        },
    }


def line(values: Record) -> str:
    """The record as one line of JSON; its images also under the name that Qwen-VL's own fine-tuning reads."""
    return json.dumps(values | {"image": values["images"]}, ensure_ascii=False) + "\n"


def write_parquet(records: Sequence[Record], path: Path, image_file: dict[str, Path]) -> None:
    """Write records with the bytes of their images. Raises OSError.

    Args:
        image_file: where the file of each image of the records is now.
    """
    with whole(path) as beside, parquet.ParquetWriter(beside, SCHEMA) as writer:
        for start in range(0, len(records), ROWS):
            rows = [
                values
                | {name: json.dumps(values[name], ensure_ascii=False) for name in ("gt_value", "meta")}
                | {"images": [{"bytes": image_file[name].read_bytes(), "path": name} for name in values["images"]]}
                for values in records[start : start + ROWS]
            ]
            writer.write_table(pa.Table.from_pylist(rows, SCHEMA))


def join(parts: Iterable[Path], path: Path) -> None:
    """All files in one, in that order, whole or not there; no file where they are all empty. Raises OSError."""
    with whole(path) as beside, beside.open("wb") as joined:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, joined)
    if not path.stat().st_size:
        path.unlink()
