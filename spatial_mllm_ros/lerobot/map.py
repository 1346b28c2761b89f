"""What of a recording becomes what of a data set: a map, typed, from YAML; what it leaves open is guessed."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ..recordings.errors import BagError
from ..recordings.qos import plain_yaml

CODECS = ("h264", "av1")
REWARDED_BY = ("geometry", "mllm")
MAX_AGE = 0.2  # s
MOST_FPS = 1000
LONGEST = 1_000_000  # bytes of a map
MOST = 64  # vectors of a feature, and videos of a kind
EPOCH = 1e9  # times above this many seconds count from 1970, others from the start of the recording


@dataclass(frozen=True)
class Vector:
    """Numbers of the messages of a topic.

    Attributes:
        field: where they are, like ``pose.position``; empty: where messages of its type have them by custom.
        joints: those of messages that name their numbers, in this order; empty: those of the first message.
    """

    topic: str
    field: str = ""
    joints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Text:
    """The task: a text, or a topic of texts and their field; each holds until the next."""

    text: str = ""
    topic: str = ""
    field: str = "data"


@dataclass(frozen=True)
class Cuts:
    """Where episodes begin and end; one for a recording where nothing is said.

    Attributes:
        start, stop: topics or services; each message, or call, begins or ends one. Without ``stop`` the next one does.
        signal: a topic whose ``field`` is true, or not 0, during episodes.
        times: (start, stop) of each, seconds since the start of the recording, or since 1970.
    """

    start: str = ""
    stop: str = ""
    signal: str = ""
    field: str = "data"
    times: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class RewardOf:
    """Which recorded rewards count.

    Attributes:
        topic: of MotionReward. target: its label; empty: the first that is not the camera, else that.
        source: geometry or mllm; empty: geometry where it is there, else mllm.
        way: metres from the start to the goal, of which progress is a share; 0: of what each episode has come.
        off: no rewards at all.
    """

    topic: str = "/spatial_mllm/motion_reward"
    target: str = ""
    source: str = ""
    way: float = 0.0
    off: bool = False


@dataclass(frozen=True)
class DatasetMap:
    """What a data set is made of; None is guessed from the recording.

    Attributes:
        fps: frames a second. max_age: s that a value may be old at its frame.
        state, action: what these vectors are made of, one after another.
        images, depth: name -> topic, of ``observation.images.<name>`` and ``observation.images.<name>_depth``.
        codec: of colour, one of CODECS. robot: ``robot_type``.
    """

    fps: int | None = None
    max_age: float = MAX_AGE
    robot: str = ""
    codec: str = CODECS[0]
    state: tuple[Vector, ...] | None = None
    action: tuple[Vector, ...] | None = None
    images: Mapping[str, str] | None = None
    depth: Mapping[str, str] = field(default_factory=dict)
    task: Text = Text()
    episodes: Cuts = Cuts()
    reward: RewardOf = RewardOf()

    def __post_init__(self):
        if self.fps is not None and not 1 <= self.fps <= MOST_FPS:
            raise BagError(f"fps {self.fps}: expected 1 to {MOST_FPS}")
        if not 0 < self.max_age < float("inf"):
            raise BagError(f"max_age {self.max_age:g}: expected seconds above 0")
        if self.codec not in CODECS:
            raise BagError(f"codec {self.codec}: expected one of {', '.join(CODECS)}")
        for name in self.depth:
            if f"{name}_depth" in (self.images or {}):
                raise BagError(f"images.{name}_depth and depth.{name} would be of one name")


_Some = TypeVar("_Some", dict[str, Any], tuple[Vector, ...])


def read_map(path: Path) -> DatasetMap:
    """A map from a YAML file; docs/lerobot.md has one with everything.

    Raises:
        BagError: it cannot be read, or says something that is not known; the text has the nearest that is.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST + 1)
        if len(text) > LONGEST:
            raise ValueError(f"more than {LONGEST:,} bytes")
        return _map(_named(_plain(text.decode()), "the map", READERS))
    except OSError as error:
        raise BagError(f"{path} cannot be read: {error.strerror or error}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise BagError(f"{path}: {error}") from None


def nearest(name: str, known: Collection[str], what: str = "there are") -> str:
    """`` (did you mean ...?); there are ...``, for a name that is not known."""
    close = get_close_matches(name, known, 1)
    meant = f", did you mean {close[0]}?" if close else ";"
    return f"{meant} {what} {', '.join(sorted(known)) or 'none'}"


def _plain(text: str) -> Any:
    value = plain_yaml(text)  # says where it is nested too deeply
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
        raise ValueError("it has an alias (*name): expected every value where it belongs")
    return value or {}


def _map(given: dict[str, Any]) -> DatasetMap:
    return DatasetMap(**given)


def _named(value: Any, what: str, readers: Mapping[str, Callable[[Any, str], Any]]) -> dict[str, Any]:
    """The values of a mapping, each as its reader makes it."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {_shown(value)}: expected {', '.join(readers)}")
    for name in value:
        if name not in readers:
            raise ValueError(f"{what} has no '{name}'{nearest(str(name), readers)}")
    return {name: readers[name](inner, name) for name, inner in value.items()}


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is {_shown(value)}: expected a text")
    return value


def _number(value: Any, name: str) -> float:
    try:
        return float(_text(value, name))
    except ValueError:
        raise ValueError(f"{name} is {_shown(value)}: expected a number") from None


def _fps(value: Any, name: str) -> int:
    if not (number := _number(value, name)).is_integer():
        raise ValueError(f"{name} is {value}: LeRobot knows whole numbers only")
    return int(number)


def _vectors(value: Any, name: str) -> tuple[Vector, ...]:
    """A topic, a mapping, or a list of them."""
    if isinstance(value, list):
        vectors = tuple(one for inner in value for one in _vectors(inner, name))
        return _few(vectors, name)
    if isinstance(value, str):
        return (Vector(value),) if value else ()
    given = _named(value, name, {"topic": _text, "field": _text, "joints": _texts})
    return (Vector(**_with(given, "topic", name)),)


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{name} is {_shown(value)}: expected a list")
    return tuple(_text(one, name) for one in value)


def _views(value: Any, name: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {_shown(value)}: expected NAME: TOPIC")
    for view in value:
        if not str(view).isidentifier():
            raise ValueError(f"{name} '{view}': expected a name of letters, digits and _")
    return {view: _text(topic, f"{name}.{view}") for view, topic in _few(value, name).items()}


def _task(value: Any, name: str) -> Text:
    if isinstance(value, str):
        return Text(value)
    return Text(**_with(_named(value, name, {"topic": _text, "field": _text}), "topic", name))


def _cuts(value: Any, name: str) -> Cuts:
    readers = {"start": _text, "stop": _text, "signal": _text, "field": _text, "times": _times}
    cuts = Cuts(**_named(value, name, readers))
    if sum(map(bool, (cuts.start, cuts.signal, cuts.times))) != 1 or (cuts.stop and not cuts.start):
        raise ValueError(f"{name}: expected one of start (with stop, or not), signal and times")
    return cuts


def _times(value: Any, name: str) -> tuple[tuple[float, float], ...]:
    listed = value if isinstance(value, list) else []
    pairs = [tuple(_number(t, name) for t in pair) for pair in listed if isinstance(pair, list) and len(pair) == 2]
    flat = [t for pair in pairs for t in pair]
    if not all(map(isfinite, flat)):
        raise ValueError(f"{name}: expected numbers of seconds that are finite")
    if not listed or len(pairs) != len(listed) or flat != sorted(flat):
        raise ValueError(f"{name}: expected [[start, stop], ...] in order of time, seconds")
    return tuple((start, stop) for start, stop in pairs)


def _reward(value: Any, name: str) -> RewardOf:
    if value in ("", "none", "off"):
        return RewardOf(off=True)
    reward = RewardOf(**_named(value, name, {"topic": _text, "target": _text, "source": _text, "way": _number}))
    if reward.source not in ("", *REWARDED_BY):
        raise ValueError(f"{name}.source is {_shown(reward.source)}: expected {' or '.join(REWARDED_BY)}")
    if not 0 <= reward.way < float("inf"):
        raise ValueError(f"{name}.way is {reward.way:g}: expected metres from the start to the goal")
    return reward


def _with(given: dict[str, Any], needed: str, name: str) -> dict[str, Any]:
    if not given.get(needed):
        raise ValueError(f"{name} names no {needed}")
    return given


def _few(values: _Some, name: str) -> _Some:
    if len(values) > MOST:
        raise ValueError(f"{name} has {len(values)} entries: expected {MOST} at most")
    return values


def _shown(value: Any) -> str:
    """A text by its beginning, a container by its kind alone: it may be large."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return f"'{str(value)[:64]}'"


READERS: dict[str, Callable[[Any, str], Any]] = {
    "fps": _fps,
    "max_age": _number,
    "robot": _text,
    "codec": _text,
    "state": _vectors,
    "action": _vectors,
    "images": _views,
    "depth": _views,
    "task": _task,
    "episodes": _cuts,
    "reward": _reward,
}
