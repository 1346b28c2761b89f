"""What people write on the command line, as values of the library."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..mllm import Question
    from ..motion.targets import Target
    from ..scene.asking import Asked

SOURCES = ("image", "depth", "camera_info", "depth_info", "odometry", "pose", "world_frame", "child_frame", "camera")
EPOCH = 1e9  # times above this many seconds count from 1970, others from the start of the recording


def image_size(text: str) -> tuple[int, int]:
    """``640x480`` as (width, height)."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match:
        raise ValueError(f"size '{text}': expected width x height in pixels, like 640x480")
    return int(match[1]), int(match[2])


def frames_range(text: str) -> tuple[int, int, int]:
    """``1:16:32`` as the least, the usual and the most frames."""
    match = re.fullmatch(r"(\d{1,4}):(\d{1,4}):(\d{1,4})", text)
    if not match:
        raise ValueError(f"frames '{text}': expected MIN:OPT:MAX, like 1:16:32")
    return int(match[1]), int(match[2]), int(match[3])


def picture_sizes(texts: Sequence[str] | None) -> list[tuple[int, int]]:
    """``476x644``, each as (height, width)."""
    matches = {text: re.fullmatch(r"(\d{1,5})x(\d{1,5})", text) for text in texts or ()}
    if odd := [text for text, match in matches.items() if not match]:
        raise ValueError(f"size '{odd[0]}': expected height x width in pixels, like 476x644")
    return [(int(match[1]), int(match[2])) for match in matches.values() if match]


def sources(pairs: Sequence[str] | None) -> dict[str, Any]:
    """``NAME=VALUE`` pairs as arguments of ``recordings.topics.find_sources``."""
    found: dict[str, Any] = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals or name not in SOURCES:
            raise ValueError(f"source '{pair}': expected NAME=VALUE with a name among {', '.join(SOURCES)}")
        if name == "camera":
            found.setdefault("cameras", []).append(value)
        else:
            found[name] = value
    return found


def question(text: str, options: Sequence[str] | None, kind: str, reasoning: bool) -> Question:
    """A question of a kind named as on the command line. Raises SpatialError, or ValueError for an unknown kind."""
    from ..mllm import AnswerType, Question

    if kind.upper() not in AnswerType.__members__:
        raise ValueError(f"type '{kind}': expected one of {', '.join(AnswerType.__members__).lower()}")
    return Question(text, tuple(options or ()), AnswerType[kind.upper()], reasoning)


def answers(path: Path) -> list[Asked]:
    """What one or several ``ask --json`` printed: one JSON object after another, or a list of them.

    Raises:
        OSError: the file cannot be read; ValueError: it holds something else.
    """
    from ..scene.asking import Asked

    text, found, decoder = path.read_text("utf-8").strip(), [], json.JSONDecoder()
    try:
        while text:
            values, end = decoder.raw_decode(text)
            found += values if isinstance(values, list) else [values]
            text = text[end:].lstrip()
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    return [Asked.of(values) for values in found]


def targets(regions: Sequence[str] | None, goals: Sequence[str] | None, start_ns: Callable[[], int]) -> list[Target]:
    """``NAME:CAMERA:X,Y,W,H[@T]`` and ``NAME:X,Y,Z`` as targets; ``start_ns`` tells the start of the recording."""
    from ..motion.targets import CAMERA, Target

    wanted = dict(goal(text) for text in goals or ())
    found = [region(text, start_ns() if "@" in text else 0) for text in regions or ()]
    found = [replace(t, goal=wanted.pop(t.label, None)) for t in found]
    if CAMERA in wanted:
        found.append(Target(CAMERA, goal=wanted.pop(CAMERA)))
    if wanted:
        raise ValueError(f"goal for '{next(iter(wanted))}': there is no target of that name, nor is it '{CAMERA}'")
    return found


def region(text: str, start_ns: int) -> Target:
    from ..motion.targets import Target

    try:
        name, camera, rest = text.split(":", 2)
        roi, _, time = rest.partition("@")
        x, y, width, height = (float(v) for v in roi.split(","))
        seconds = float(time or 0)
    except ValueError:
        raise ValueError(f"target '{text}': expected NAME:CAMERA:X,Y,W,H or NAME:CAMERA:X,Y,W,H@SECONDS") from None
    stamp = int(seconds * 1e9) if seconds > EPOCH else start_ns + int(seconds * 1e9)
    return Target(name, camera, (x, y, width, height), stamp)


def goal(text: str) -> tuple[str, tuple[float, float, float]]:
    try:
        name, _, point = text.partition(":")
        x, y, z = (float(v) for v in point.split(","))
    except ValueError:
        raise ValueError(f"goal '{text}': expected NAME:X,Y,Z in metres, like camera:1.5,0,0.8") from None
    return name, (x, y, z)
