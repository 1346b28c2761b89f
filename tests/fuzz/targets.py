"""What is fuzzed: each reader with small inputs of our own making, and the errors that it may raise."""

import json
import os
import shutil
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml

FRAMES = 200  # of a recording that are read

Read = Callable[[bytes, Path], Any]


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        seeds: makes its inputs, in a folder of its own.
        read: reads one, with a folder for files. errors: that it may raise, all of which say in words what is wrong.
    """

    seeds: Callable[[Path], list[bytes]]
    read: Read
    errors: tuple[type[BaseException], ...]


def _recordings(kinds: list[str], folder: Path) -> list[bytes]:
    from tests.recordings.recordings import data_file, rgbd, write

    made = []
    for kind in kinds:
        for poses in ("tf", "odometry"):
            where = folder / f"{kind}-{poses}"
            where.mkdir()
            made.append(data_file(write(where, rgbd(3, poses=poses), kind)).read_bytes())
    return made


def _read_recording(path: Path) -> None:
    from spatial_mllm_ros.errors import BadMessage
    from spatial_mllm_ros.recordings.info import recording_info
    from spatial_mllm_ros.recordings.reader import read_frames

    recording_info(path)
    for frame in islice(read_frames(path), FRAMES):
        try:
            _ = frame.image, frame.depth
        except BadMessage:
            continue
        finally:
            frame.release()


def _file(suffix: str, data: bytes, folder: Path) -> None:
    path = folder / f"input{suffix}"
    path.write_bytes(data)
    _read_recording(path)


def _bag_folders(folder: Path) -> list[bytes]:
    from tests.recordings.recordings import rgbd, write

    write(folder, rgbd(3), "mcap")
    return [(folder / "r/metadata.yaml").read_bytes()]


def _bag_folder(data: bytes, folder: Path) -> None:
    from tests.recordings.recordings import rgbd, write

    if not (folder / "r").exists():
        write(folder, rgbd(3), "mcap")
    (folder / "r/metadata.yaml").write_bytes(data)
    _read_recording(folder / "r")


IDL = """module sensor_msgs { module msg { struct Image { std_msgs::msg::Header header; unsigned long height; \
unsigned long width; string encoding; octet is_bigendian; unsigned long step; sequence<octet> data; }; }; };"""


def _definitions(folder: Path) -> list[bytes]:
    from tests.recordings.recordings import JAZZY

    kinds = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo", "nav_msgs/msg/Odometry")
    return [IDL.encode(), *(JAZZY.generate_msgdef(kind, ros_version=2)[0].encode() for kind in kinds)]


def _definition(data: bytes, folder: Path) -> None:
    from tests.cases.mcap import ros2_schema, write
    from tests.recordings.recordings import rgbd

    def schema(kind: str) -> tuple[str, str, bytes]:
        name, written, text = ros2_schema(kind)
        form = "ros2idl" if b"module" in data else written
        return (name, form, data) if name.rpartition("/")[2].encode() in data[:4000] else (name, written, text.encode())

    write(folder / "input.mcap", rgbd(2, poses="odometry"), schema)
    _read_recording(folder / "input.mcap")


def _pictures(folder: Path) -> list[bytes]:
    import cv2

    rng = np.random.default_rng(0)
    color, depth = rng.integers(0, 255, (12, 16, 3), np.uint8), rng.integers(0, 9000, (12, 16), np.uint16)
    progressive = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    made = [cv2.imencode(form, color)[1].tobytes() for form in (".jpg", ".png", ".tiff", ".webp", ".bmp")]
    made += [cv2.imencode(".jpg", color, progressive)[1].tobytes(), cv2.imencode(".png", depth)[1].tobytes()]
    return [*made, struct.pack("<iff", 0, 100.0, 3.0) + made[-1], struct.pack("<iffii", 0, 0, 0, 4, 4) + b"D" * 40]


def _picture(data: bytes, folder: Path) -> None:
    from spatial_mllm_ros.errors import BadMessage
    from spatial_mllm_ros.messages import color_pixels, depth_pixels
    from spatial_mllm_ros.recordings.pictures import read_picture
    from tests.recordings.recordings import compressed

    depths = ("16UC1; png", "16UC1; compressedDepth png", "32FC1; compressedDepth png", "16UC1; compressedDepth rvl")
    for read, form in [
        (color_pixels, "bayer_rggb8; png"),
        (color_pixels, "jpeg"),
        *((depth_pixels, f) for f in depths),
    ]:
        try:
            read(compressed(1, data, form)).decode()
        except BadMessage:
            continue
    read_picture(data)


NUMBERS = struct.Struct("<II9d14dBIIIIII")


def _infos(folder: Path) -> list[bytes]:
    k = [500.0, 0, 320, 0, 500, 240, 0, 0, 1]
    lens = [[0.0] * 14, [0.1, -0.2, 0.001, 0.002, 0.05, *[0.0] * 9], [0.1] * 8 + [0.0] * 6]
    tail = (0, 0, 0, 0, 0, 0)
    return [NUMBERS.pack(480, 640, *k, *d, n, *tail) for d, n in zip(lens, (5, 4, 8), strict=True)]


def _camera_info(data: bytes, folder: Path) -> None:
    from spatial_mllm_ros.camera_info import readout_from_info
    from spatial_mllm_ros.errors import BadMessage
    from spatial_mllm_ros.geometry.cameras import back_project, project

    height, width, *numbers = NUMBERS.unpack(data[: NUMBERS.size].ljust(NUMBERS.size, b"\0"))
    k, d, (count, x, y, w, h, bx, by) = numbers[:9], numbers[9:23], numbers[23:]
    roi = SimpleNamespace(x_offset=x, y_offset=y, width=w, height=h)
    header, p = SimpleNamespace(frame_id="c"), [*k[:3], 0, *k[3:6], 0, *k[6:9], 0]
    for model in ("plumb_bob", "equidistant", "rational_polynomial", ""):
        info = {"header": header, "height": height, "width": width, "distortion_model": model, "d": d[: count % 15]}
        more = {"k": k, "p": p, "roi": roi, "binning_x": bx, "binning_y": by}
        try:
            camera = readout_from_info("c", SimpleNamespace(**info, **more)).camera_for(64, 48)
        except BadMessage:
            continue
        with np.errstate(all="ignore"):
            project(camera, back_project(camera, np.ones((48, 64), np.float32)).reshape(-1, 3))


def _tiny(folder: Path) -> Path:
    """A model with random weights, made once."""
    from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import make_untrained

    return folder / "tiny" if (folder / "tiny").exists() else make_untrained(folder / "tiny")


def _of_model(name: str, folder: Path) -> list[bytes]:
    return [(_tiny(folder) / name).read_bytes()]


def _model(name: str, data: bytes, folder: Path) -> None:
    from spatial_mllm_ros.mllm.families.spatial_mllm.loading import load_model

    tiny = _tiny(folder)
    if not (changed := folder / "changed").exists():
        changed.mkdir()
        for file in tiny.iterdir():
            os.link(file, changed / file.name)
    (changed / name).unlink(missing_ok=True)
    (changed / name).write_bytes(data)
    load_model(changed)


def _entries(data: bytes, folder: Path) -> None:
    from spatial_mllm_ros.mllm.weights.files import read_entries

    (folder / "model.safetensors").write_bytes(data)
    read_entries(folder)


def _headers(folder: Path) -> list[bytes]:
    from safetensors.numpy import save

    return [save({"a": np.ones((2, 3), np.float32), "b": np.ones(4, np.float16)}, {"format": "pt"})]


TEMPLATES = (
    "{% for m in messages %}<{{ m.role }}>{% for c in m.content %}{{ c.text or '<image>' }}{% endfor %}{% endfor %}",
    "{%- set a = namespace(n=0) -%}{%- for m in messages if m.role == 'user' -%}{{ a.n + 1 }}"
    "{{ m.content[0].text | trim }}{%- endfor -%}{{ messages[-1].role.split('u') | join(',') }}",
)


def _template(data: bytes, folder: Path) -> None:
    from spatial_mllm_ros.mllm.text.templates import render

    render(data.decode(errors="replace"), [{"role": "user", "content": [{"type": "text", "text": "x"}]}], tools=None)


def _calibrations(folder: Path) -> list[bytes]:
    from spatial_mllm_ros.mllm.weights.shipped import find_shipped

    return [(find_shipped() / "calibration.json").read_bytes()]  # type: ignore[operator]


def _calibration(data: bytes, folder: Path) -> None:
    from spatial_mllm_ros.mllm.calibration import read_calibration

    (folder / "calibration.json").write_bytes(data)
    read_calibration(folder)


def _exports(folder: Path) -> list[bytes]:
    from tests.mllm.encoders.test_exported import ABOUT

    return [json.dumps(ABOUT).encode(), json.dumps({**ABOUT, "window": 4, "connector": "layer_3"}, indent=1).encode()]


def _export(data: bytes, folder: Path) -> None:
    from spatial_mllm_ros.mllm.encoders.exported import read_exported

    (folder / "encoders.json").write_bytes(data)
    found = read_exported(folder)
    _ = found.levels, found.shown, found.window, found.connector, found.patch, found.longest
    found.profiles("spatial.onnx")


def _parameters(folder: Path) -> list[bytes]:
    from spatial_mllm_ros.config import describe

    plain = {name: p["default"] for name, p in describe().items()}
    return [
        yaml.safe_dump(plain).encode(),
        b"cameras: [a, b]\na.image_topic: /x\ncoverage.frames: 7\nask.model: none\n",
    ]


def _build(data: bytes, folder: Path) -> None:
    from spatial_mllm_ros.config import build

    try:
        values = yaml.safe_load(data)
    except Exception:  # rcl reads parameter files, not we
        return
    build(values)


def _states(folder: Path) -> list[bytes]:
    return [_codec().dump(_state())]


def _codec() -> Any:
    from spatial_mllm_ros.annotate.bag import State
    from spatial_mllm_ros.annotate.state import Codec
    from spatial_mllm_ros.config import MotionParams

    return Codec(State, {MotionParams: MotionParams()})


def _state() -> Any:
    from spatial_mllm_ros.annotate.bag import AnnotateReport
    from spatial_mllm_ros.config import Config
    from spatial_mllm_ros.motion.targets import Targets

    return AnnotateReport(3, 2), Targets(Config(), ())


RECORD = {
    "id": "a",
    "question_type": "distance",
    "images": ["a.jpg"],
    "conversations": [{"from": "human", "value": "<image>?"}, {"from": "gpt", "value": "1 m"}],
    "gt_value": 1.0,
    "meta": {"output": "scalar", "image_size": [4, 4]},
}


def _dataset(suffix: str, data: bytes, folder: Path) -> None:
    from spatial_mllm_training.sft.records import RecordFault, open_records

    (folder / f"input{suffix}").write_bytes(data)
    records = open_records(folder / f"input{suffix}")
    for i in range(min(len(records), 50)):
        try:
            _ = records[i]
        except RecordFault:
            continue


def _tables(folder: Path) -> list[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"conversations": [RECORD["conversations"]], "images": [["a.jpg"]]}), folder / "t.parquet")
    return [(folder / "t.parquet").read_bytes()]


def _recipes(folder: Path) -> list[bytes]:
    from spatial_mllm_training.runs.recipe import recipe_yaml
    from spatial_mllm_training.sft.recipe import SftRecipe

    return [recipe_yaml(SftRecipe()).encode()]


def _recipe(data: bytes, folder: Path) -> None:
    from spatial_mllm_training.runs.recipe import load_recipe
    from spatial_mllm_training.sft.recipe import SftRecipe

    (folder / "recipe.yaml").write_bytes(data)
    load_recipe(folder / "recipe.yaml", SftRecipe)


def targets() -> Iterator[tuple[str, Target]]:
    """All by name. What they need is imported when they are used."""
    from spatial_mllm_ros.annotate.state import StateError
    from spatial_mllm_ros.errors import BadMessage, SpatialError
    from spatial_mllm_ros.recordings.errors import BagError

    def model(name: str) -> Target:
        return Target(partial(_of_model, name), partial(_model, name), (SpatialError,))

    for name, kinds, suffix in (
        ("mcap", ["mcap", "mcap-zstd"], ".mcap"),
        ("bag1", ["ros1", "ros1-bz2", "ros1-lz4"], ".bag"),
        ("sqlite", ["sqlite3"], ".db3"),
    ):
        yield name, Target(partial(_recordings, kinds), partial(_file, suffix), (BagError,))
    yield "metadata", Target(_bag_folders, _bag_folder, (BagError,))
    yield "definition", Target(_definitions, _definition, (BagError,))
    yield "picture", Target(_pictures, _picture, (BadMessage,))
    yield "camera_info", Target(_infos, _camera_info, (BadMessage,))
    yield "state", Target(_states, lambda data, folder: _codec().load(data), (StateError,))
    yield "parameters", Target(_parameters, _build, (ValueError,))
    yield "calibration", Target(_calibrations, _calibration, (SpatialError,))
    yield "encoders", Target(_exports, _export, (SpatialError,))
    yield "template", Target(lambda folder: [t.encode() for t in TEMPLATES], _template, (ValueError,))
    yield "safetensors", Target(_headers, _entries, (SpatialError,))
    yield "config", model("config.json")
    yield "tokenizer", model("tokenizer.json")
    yield "tokenizer_config", model("tokenizer_config.json")
    yield "preprocessor", model("preprocessor_config.json")
    yield "generation", model("generation_config.json")
    records = partial(_dataset, ".jsonl")
    yield "records", Target(lambda folder: [json.dumps(RECORD).encode() + b"\n"] * 2, records, (SpatialError,))
    yield "parquet", Target(_tables, partial(_dataset, ".parquet"), (SpatialError,))
    yield "recipe", Target(_recipes, _recipe, (SpatialError,))


def quietly(target: Target, data: bytes, folder: Path) -> str:
    """Reads an input; how it ended: ``read``, or the name of an error that may be. All others are raised."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.read(data, folder)
        return "read"
    except target.errors as error:
        return type(error).__name__


def cleared(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
