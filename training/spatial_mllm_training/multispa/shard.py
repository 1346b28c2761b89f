"""What is done to one scene, as pure functions: the scene and the options decide every byte that is written.

They run in any process of any machine that sees the output folder, in any order, and again after a kill. What is wrong
with a scene, a frame or a question is counted, and costs only that; what is wrong with the output folder is an OSError.
"""

import hashlib
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.files import whole_folder, write_whole
from spatial_mllm_ros.frames import Frame
from spatial_mllm_ros.scene.selection import jpeg

from .dots import draw, is_drawn
from .item import NOT_OBSERVED, Candidate, Point
from .manifest import GenerateOptions, State, digest, working
from .records import Record, line, record, write_parquet
from .scene import Scene, SceneRef

if TYPE_CHECKING:
    from .wording import Worded

TASKS = ("depth", "correspondence", "camera_motion", "object_motion", "object_size", "not_observed")
QUALITY = 90  # of JPEG
OVERSAMPLE = 2  # candidates of a type in a scene, for each of its share of the questions
LEAST, MOST = 8, 4096  # of them

CANDIDATES = pa.schema([(name, pa.string()) for name in ("id", "question_type", "bins", "candidate")])


def _held(work: Callable[..., State]) -> Callable[..., State]:
    """The same, for the output folder that comes last, with :func:`.manifest.working` around it."""

    @wraps(work)
    def held(*job: Any) -> State:
        with working(job[-1]):
            return work(*job)

    return held


def shard_name(ref: SceneRef) -> str:
    return f"{ref.source}-{ref.name}"


def candidates_file(shard: str) -> str:
    """Relative to the output folder, like all names of files in states."""
    return f"candidates/{shard}.parquet"


def rng_of(*parts: object) -> np.random.Generator:
    """Random numbers that these parts decide."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def candidates_wanted(options: GenerateOptions, scenes: int) -> int:
    """Candidates of each type in each scene: enough to choose from, and bounded."""
    return min(max(-(-OVERSAMPLE * options.per_task // max(scenes, 1)), LEAST), MOST)


@_held
def propose(ref: SceneRef, options: GenerateOptions, count: int, out: Path) -> State:
    """First phase: the table of all questions that could be asked of a scene.

    Returns:
        ``files`` (name -> SHA-256), ``key`` of the scene, ``candidates`` (type -> how many), ``skipped`` (task ->
        reason), ``faults`` (reason -> how many), ``dropped`` (reason -> frames that are not used); or only ``error``.
    """
    from .covisibility import SceneIndex

    try:
        scene = ref.open()
        index = SceneIndex(scene)
    except Exception as error:
        return {"error": reason(error)}
    skipped, faults, rows = {}, Counter(), {}
    for task in _tasks(options.types):
        name = task.__name__.rpartition(".")[2]
        if why := scene.missing(task.NEEDS):
            skipped[name] = why
            continue
        rng = rng_of(options.seed, scene.key, name)
        wanted = _refusals(options, count) if NOT_OBSERVED in task.TYPES else count
        try:
            for candidate in islice(task.propose(scene, index, rng, wanted), 2 * wanted * len(task.TYPES)):
                if candidate.question_type in options.types:
                    row = _row(shard_name(ref), candidate)
                    rows.setdefault(row["id"], row)
        except Exception as error:
            faults[f"{name}: {reason(error)}"] += 1
    path = out / candidates_file(shard_name(ref))
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(list(rows.values()), CANDIDATES), sink, compression="zstd")
    write_whole(path, sink.getvalue().to_pybytes())
    return {
        "files": {candidates_file(shard_name(ref)): digest(path)},
        "key": scene.key,
        "candidates": dict(sorted(Counter(row["question_type"] for row in rows.values()).items())),
        "skipped": skipped,
        "faults": dict(faults),
        "dropped": dict(Counter(scene.dropped) + index.left_out),
    }


@_held
def write(ref: SceneRef, options: GenerateOptions, key: str, split: str, rows: NDArray[np.int64], out: Path) -> State:
    """Third phase: the chosen rows of the scene's table in words, with their images.

    Returns:
        ``files``, ``questions`` (type -> how many) and ``faults``; or only ``error``.
    """
    shard = shard_name(ref)
    table = parquet.read_table(out / candidates_file(shard), columns=["id", "candidate"]).take(rows)
    chosen = [(row["id"], Candidate.of(json.loads(row["candidate"]))) for row in table.to_pylist()]
    try:
        scene = ref.open()
    except Exception as error:
        return {"error": reason(error)}
    if scene.key != key:
        return {"error": "the scene changed while it was read"}
    faults = Counter()
    worded = dict(_worded(scene, chosen, options.seed, faults))
    with whole_folder(out / "images" / shard) as images:
        shown = [candidate for identity, candidate in chosen if identity in worded]
        written = _write_images(scene, shown, images, faults)
        records = []
        for identity, candidate in chosen:
            names = _images(candidate)
            if identity in worded and written.issuperset(names):
                frames = [scene.frames[i] for i in candidate.frames]
                paths = [f"images/{shard}/{name}" for name in names]
                scene_name = f"{ref.source}/{ref.name}"
                records.append(record(identity, candidate, frames, paths, worded[identity], scene_name, split))
        used = {name for values in records for name in values["images"]}
        files = _write_records(records, options.format, f"annotations/{split}/{shard}", images, out)
        if options.format == "parquet" or not used:
            shutil.rmtree(images)
        else:
            for name in written - {Path(name).name for name in used}:
                (images / name).unlink()
            files.append(f"images/{shard}")
    return {
        "files": {name: digest(out / name) for name in files},
        "questions": dict(sorted(Counter(values["question_type"] for values in records).items())),
        "faults": dict(faults),
    }


def reason(error: Exception) -> str:
    """One line about what went wrong."""
    if isinstance(error, OSError) and error.strerror:
        return f"{Path(error.filename).name}: {error.strerror}" if error.filename else error.strerror
    text = " ".join(str(error).split())
    return text if isinstance(error, (SpatialError, ValueError)) and text else f"{type(error).__name__}: {text}"


def _tasks(types: Sequence[str]) -> Iterator[ModuleType]:
    for name in TASKS:
        task = import_module(f"{__package__}.tasks.{name}")
        if not set(types).isdisjoint(task.TYPES):
            yield task


def _refusals(options: GenerateOptions, count: int) -> int:
    """Candidates of ``not_observed``: a share of all questions, not of one type."""
    others = len(set(options.types) - {NOT_OBSERVED}) or 1
    share = options.not_observed / (1 - options.not_observed)
    return min(max(round(others * count * share), LEAST), MOST)


def _row(shard: str, candidate: Candidate) -> dict[str, str]:
    content = json.dumps(candidate.values(), sort_keys=True, separators=(",", ":"))
    identity = f"{shard}-{candidate.question_type}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    bins = json.dumps(candidate.bins, sort_keys=True)
    return {"id": identity, "question_type": candidate.question_type, "bins": bins, "candidate": content}


def _worded(
    scene: Scene, chosen: list[tuple[str, Candidate]], seed: int, faults: Counter[str]
) -> Iterator[tuple[str, "Worded"]]:
    from .wording import word

    for identity, candidate in chosen:
        try:
            camera = scene.frames[candidate.frames[0]].camera
            yield identity, word(candidate, (camera.width, camera.height), rng_of(seed, scene.key, identity))
        except Exception as error:
            faults[f"{candidate.question_type}: {reason(error)}"] += 1


def _drawn(candidate: Candidate, image: int) -> tuple[Point, ...]:
    """The points that are drawn on one of its images; none on an image that others can share."""
    there = (point for point in candidate.points if point.image == image)
    return tuple(point for point in there if is_drawn(point, candidate.referring, candidate.output))


def _images(candidate: Candidate) -> list[str]:
    """Names of its images: of the frame, and of what is drawn on it."""
    names = []
    for image, frame in enumerate(candidate.frames):
        points = [(point.u, point.v, point.name) for point in _drawn(candidate, image)]
        dots = f"-{hashlib.sha256(json.dumps(points).encode()).hexdigest()[:8]}" if points else ""
        names.append(f"{frame:06d}{dots}.jpg")
    return names


def _write_images(scene: Scene, candidates: list[Candidate], folder: Path, faults: Counter[str]) -> set[str]:
    """Write every image once, frame after frame, and say which could be."""
    wanted: dict[int, dict[str, tuple[Candidate, int]]] = defaultdict(dict)
    for candidate in candidates:
        for image, name in enumerate(_images(candidate)):
            wanted[candidate.frames[image]].setdefault(name, (candidate, image))
    written = set()
    for number in sorted(wanted):
        for name, encoded in _encoded(scene.frames[number], wanted[number], faults):
            (folder / name).write_bytes(encoded)
            written.add(name)
    return written


def _encoded(
    frame: Frame, wanted: dict[str, tuple[Candidate, int]], faults: Counter[str]
) -> Iterator[tuple[str, bytes]]:
    try:
        plain = frame.decoded()
        if plain is None:
            raise ValueError("a frame without an image")
        for name, (candidate, image) in sorted(wanted.items()):
            points = _drawn(candidate, image)
            pixels = draw(plain, points, candidate.referring, candidate.output) if points else plain
            yield name, jpeg(pixels, QUALITY)
    except Exception as error:
        faults[f"frame: {reason(error)}"] += 1


def _write_records(records: list[Record], kind: str, name: str, images: Path, out: Path) -> list[str]:
    """Write them in the formats that are asked for; the names of the files."""
    files = []
    if kind in ("jsonl", "both"):
        files.append(f"{name}.jsonl")
        write_whole(out / files[-1], "".join(map(line, records)))
    if kind in ("parquet", "both"):
        files.append(f"{name}.parquet")
        paths = {name: images / Path(name).name for values in records for name in values["images"]}
        write_parquet(records, out / files[-1], paths)
    return files
