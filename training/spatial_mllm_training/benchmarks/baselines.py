"""What can be answered without a model: at random, always the same, and exactly from depth, poses, tracks and boxes."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from hashlib import sha256
from string import ascii_uppercase
from typing import Any

import numpy as np

from ..multispa.item import NOT_OBSERVED, QUESTION_TYPES, bad
from ..multispa.scene import Scene, SceneRef
from .geometry import Shown, answer

NAMES = ("chance", "majority", "geometry")
LETTERS = tuple(ascii_uppercase)
_LETTERED = re.compile(r"\(?([A-Z])[.:)]")
Record = dict[str, Any]


def baseline(
    name: str, records: Sequence[Record], refs: Sequence[SceneRef] = (), seed: int = 0
) -> Callable[[Record], str]:
    """A model that is none: a function from a record to its answer, which it never looks at.

    Args:
        name: ``chance``: one of the options, or of the answers that its type of question has among ``records``.
            ``majority``: the most frequent of them, of numbers the median. ``geometry``: see :mod:`.geometry`.
        records: those of split ``train`` are learned from; all, where there are none.
        refs: scenes that ``geometry`` may open; one is held at a time, so records should come scene by scene.

    Raises:
        SpatialError: no such baseline. The function raises it for a record that geometry cannot answer.
    """
    if name == "chance":
        return chance(records, seed)
    if name == "majority":
        always = {form: written(middle(answers)) for form, answers in learned(records).items()}
        return lambda record: always.get(form_of(record), "")
    if name == "geometry":
        return Geometry(refs)
    raise bad(f"baseline '{name}': known are {', '.join(NAMES)}")


def chance(records: Sequence[Record], seed: int) -> Callable[[Record], str]:
    """The same record gets the same answer, in whatever order they come."""
    known = learned(records)

    def answered(record: Record) -> str:
        drawn = sha256(f"{seed} {record['id']}".encode()).digest()
        answers, options = known.get(form_of(record), [""]), record["meta"].get("options") or []
        if options:
            lettered = all(isinstance(each, str) and each in LETTERS for each in answers)
            answers = list(LETTERS[: len(options)]) if lettered else options
        return written(answers[int(np.random.default_rng(list(drawn)).integers(len(answers)))])

    return answered


class Geometry:
    """Opens the scene that a record names, and works its answer out."""

    def __init__(self, refs: Sequence[SceneRef]):
        self._refs = {f"{ref.source}/{ref.name}": ref for ref in refs}
        self._name = ""
        self._scene: Scene | None = None
        self._numbers: dict[tuple[int, str], int] = {}

    def __call__(self, record: Record) -> str:
        """Raises SpatialError: it is no whole record of MultiSPA, or its scene is not given or lacks what it names."""
        form, meta = form_of(record), record["meta"]
        if form not in QUESTION_TYPES or "stamps_ns" not in meta:
            raise bad(f"'{form}' is no question about a scene: geometry answers MultiSPA")
        try:
            keys = list(zip(meta["stamps_ns"], meta["cameras"], strict=True))
            points = [(image, u, v) for image, (u, v) in zip(meta["pixel_images"], meta["pixels"], strict=True)]
            name = meta["scene"]
        except (KeyError, TypeError, ValueError):
            fields = "scene, a camera for each of stamps_ns, and one of pixel_images for each of pixels"
            raise bad(f"record '{record['id']}': its meta should have {fields}") from None
        scene = self._open(name)
        if strange := [key for key in keys if key not in self._numbers]:
            stamp, camera = strange[0]
            raise bad(f"scene '{name}' has no frame of {camera} at {stamp} ns: not the same recording")
        numbers = [self._numbers[key] for key in keys]
        cameras = [scene.frames[number].camera for number in numbers]
        for image, u, v in points:
            if not (0 <= image < len(keys) and 0 <= u < cameras[image].width and 0 <= v < cameras[image].height):
                raise bad(f"record '{record['id']}': pixel ({u}, {v}) is not in image {image}")
        try:
            return answer(Shown(scene, numbers, points, form, meta.get("label", "")))
        except (IndexError, ValueError):
            raise bad(f"record '{record['id']}' has less images or pixels than '{form}' speaks of") from None
        finally:
            for number in numbers:
                scene.frames[number].release()

    def _open(self, name: str) -> Scene:
        if self._scene is None or name != self._name:
            if name not in self._refs:
                given = ", ".join(sorted(self._refs)[:8]) or "none"
                raise bad(f"scene '{name}' is not among the sources given ({given}): name what it was read from")
            self._scene = None
            scene = self._refs[name].open()
            self._scene = replace(scene, tracks=cache(scene.tracks) if scene.tracks else None)
            self._name = name
            self._numbers = {frame.key: i for i, frame in enumerate(self._scene.frames)}
        return self._scene


def form_of(record: Record) -> str:
    """Type of question by what is asked: of one that cannot be answered, the type that it looks like."""
    kind = record["question_type"]
    return record["meta"].get("bins", {}).get("asks", kind) if kind == NOT_OBSERVED else kind


def learned(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Answers to each form of question: texts, numbers and lists of numbers."""
    train = [record for record in records if record["meta"].get("split") == "train"]
    out = defaultdict(list)
    for record in train or records:
        out[form_of(record)].append(value_of(record))
    return out


def value_of(record: Record) -> Any:
    """The true answer: numbers where it is a pixel in text, a letter where it is a lettered choice."""
    truth, output = record["gt_value"], record["meta"].get("output")
    if isinstance(truth, str) and output == "choice" and (letter := _LETTERED.match(truth)):
        return letter[1]
    return json.loads(truth) if isinstance(truth, str) and output == "pixel" else truth


def middle(answers: Sequence[Any]) -> Any:
    """The most frequent text, or where most answers are numbers, their median in each component."""
    texts = Counter(each for each in answers if isinstance(each, str))
    if 2 * texts.total() > len(answers):
        return min(texts, key=lambda text: (-texts[text], text))
    return np.median([each for each in answers if not isinstance(each, str)], axis=0).tolist()


def written(value: Any) -> str:
    """An answer as text: a number rounded to hundredths, without a unit; a pixel or vector in whole numbers."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return str([round(part) for part in value])
    return f"{round(value, 2):.2f}".rstrip("0").rstrip(".")
