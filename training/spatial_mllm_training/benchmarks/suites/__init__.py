"""Benchmarks, each read from the folder that its authors publish."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from spatial_mllm_ros.recordings.images import pictures

from ...multispa.item import bad
from ..reading import Reading, read
from ..tables import Table

SUITES = ("multispa", "vsi_bench", "scanqa", "sqa3d", "abstention")
VIDEOS = (".mp4", ".avi", ".mkv")


@dataclass(frozen=True)
class Item:
    """One question of a benchmark.

    Attributes:
        id: unique in the benchmark.
        question: without images and options. options: without letters.
        answers: as text, for people and for language metrics.
        kind, truth: what is asked for and what is right, as ``reading.read`` gives it; unit: of a scalar.
        images: in the order shown. video: instead of them.
        meta: whatever else the suite's score needs.
        given: the record that baselines and models are asked with, where the data has one.
    """

    id: str
    question_type: str
    question: str
    answers: tuple[str, ...]
    kind: str
    truth: Any
    unit: str = ""
    options: tuple[str, ...] = ()
    images: tuple[Path, ...] = ()
    video: Path | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    given: dict[str, Any] | None = None

    def record(self) -> dict[str, Any]:
        """As a MultiSPA record: id, question_type, images, conversations, gt_value, meta."""
        if self.given is not None:
            return self.given
        turns = [{"from": "human", "value": self.question}, {"from": "gpt", "value": self.answers[0]}]
        meta = {
            **self.meta,
            "options": list(self.options),
            "output": self.kind,
            "video": str(self.video.absolute()) if self.video else "",
        }
        return {
            "id": self.id,
            "question_type": self.question_type,
            "images": [str(path.absolute()) for path in self.images],
            "conversations": turns,
            "gt_value": self.answers[0] if self.kind in ("choice", "text") else self.truth,
            "meta": meta,
        }

    def read(self, prediction: Any) -> Reading:
        """A prediction as an answer to this question."""
        return read(prediction, self.kind, self.unit, self.options, self.question)


class Suite(Protocol):
    """A module of this folder.

    Attributes:
        TITLE: its name for people. MAIN: the metric that decides. METRICS: name -> what it is, in a sentence.
    """

    TITLE: str
    MAIN: str
    METRICS: dict[str, str]

    def load(self, folder: Path) -> Iterator[Item]:
        """Its questions, in the order of the data. Raises SpatialError where the data are not as published."""
        ...

    def score(self, item: Item, text: Any) -> dict[str, float]:
        """Metrics of one answer; ``error`` besides tells worse from bad. A metric that does not apply is left out."""
        ...

    def tables(self, items: Sequence[Item], texts: Sequence[Any], scores: Sequence[dict[str, float]]) -> list[Table]:
        """What is reported, the main table first; its rows are named, the first columns are METRICS."""
        ...


def find_suite(name: str) -> Suite:
    """The suite of a name. Raises SpatialError BAD_REQUEST with the names that there are."""
    if name.replace("-", "_") not in SUITES:
        raise bad(f"suite '{name}' is none of {', '.join(SUITES)}")
    found: Any = import_module(f".{name.replace('-', '_')}", __package__)
    return found


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise bad(f"{path.name} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise bad(f"{path.name} is no JSON: {error}") from None


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a JSONL file. Raises SpatialError BAD_REQUEST with the line that is none."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        value = json.loads(line)
                    except (ValueError, RecursionError):
                        value = None
                    if not isinstance(value, dict):
                        raise bad(f"{path.name}, line {number}: expected a JSON object")
                    yield value
    except OSError as error:
        raise bad(f"{path.name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise bad(f"{path.name} is not UTF-8") from None


def take(values: Any, name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """A field that has to be there, of a type. Raises SpatialError BAD_REQUEST."""
    if not isinstance(values, Mapping) or name not in values:
        has = f"; it has {', '.join(map(str, values)) or 'nothing'}" if isinstance(values, Mapping) else ""
        raise bad(f"{where}: field '{name}' is missing{has}")
    if not isinstance(values[name], kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join(k.__name__ for k in kinds)
        raise bad(f"{where}: field '{name}' is {type(values[name]).__name__}, expected {wanted}")
    return values[name]


def find_media(folder: Path, scene: str, dataset: str = "") -> tuple[tuple[Path, ...], Path | None]:
    """(images, video) of a scene beside the questions, ((), None) where there are none.

    Looked for as ``SCENE.mp4`` or a folder ``SCENE`` (or ``SCENE/color``) of images, in the folder itself and in its
    ``DATASET``, ``video``, ``videos``, ``scans``, ``frames`` and ``posed_images``. Depth is no image.
    """
    if not _is_name(scene):
        return (), None
    for place in (dataset if _is_name(dataset) else "", "", "video", "videos", "scans", "frames", "posed_images"):
        base = folder / place
        for kind in VIDEOS:
            if (video := base / f"{scene}{kind}").is_file():
                return (), video
        for inside in (base / scene / "color", base / scene):
            if images := pictures(inside)[0]:
                return tuple(images), None
    return (), None


def _is_name(text: str) -> bool:
    """Whether it names something in a folder, and not elsewhere."""
    return text not in ("", "..") and Path(text).name == text
