"""What a map leaves open, by the types and names of a recording's topics; what it names is checked."""

import warnings
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..recordings.errors import BagError, BagWarning
from ..recordings.recording import Recording
from ..recordings.topic import Topic
from ..recordings.topics import find_sources
from ..recordings.types import IMAGES, REWARD
from ..topic_names import words
from .map import DatasetMap, RewardOf, Text, Vector, nearest

JOINTS = "sensor_msgs/msg/JointState"
STRING = "std_msgs/msg/String"
COMMANDS = (
    JOINTS,
    "trajectory_msgs/msg/JointTrajectory",
    "std_msgs/msg/Float64MultiArray",
    "std_msgs/msg/Float32MultiArray",
    "geometry_msgs/msg/TwistStamped",
    "geometry_msgs/msg/Twist",
)
COMMANDING = {"action", "actions", "cmd", "command", "commands", "commanded", "desired", "goal", "leader", "target"}
TELLING = {"instruction", "language", "prompt", "task"}
SERVICE = "/_service_event"
"""What rosbag2 adds to the name of a service whose calls it records."""


def completed(recording: Recording, given: DatasetMap, **sources: Any) -> DatasetMap:
    """The map with all that it leaves open but ``fps``, which the messages decide.

    Args:
        sources: see :func:`find_sources`.

    Raises:
        BagError: a topic that is named is not there or of another type; the text has the nearest that is.
    """
    states, actions = _joints(recording), _commands(recording)
    images = given.images
    if images is None:
        images = {name: topics.image for name, topics in cameras_of(recording, **sources).items()}
    found = replace(
        given,
        state=given.state if given.state is not None else tuple(Vector(t.name) for t in states[:1]),
        action=given.action if given.action is not None else tuple(Vector(t.name) for t in actions[:1]),
        images=images,
        task=_task(recording, given.task),
    )
    for vector in (*(found.state or ()), *(found.action or ())):
        named(recording, vector.topic)
    for topic in (*(found.images or {}).values(), *found.depth.values()):
        named(recording, topic, IMAGES)
    if found.task.topic:
        named(recording, found.task.topic)
    cuts = found.episodes
    for topic in filter(None, (cuts.start, cuts.stop, cuts.signal)):
        named(recording, topic)
    return found


def named(recording: Recording, name: str, types: Collection[str] = ()) -> Topic:
    """The topic, or the topic of a service's calls, of this name, with messages that can be read.

    Raises:
        BagError: there is none; the text has the nearest that is.
    """
    known = [t.name for t in recording.topics.values() if not types or t.type in types]
    found = name if name in known else f"{name}{SERVICE}"
    if found not in known:
        kind = f" of type {' or '.join(types)}" if types else ""
        raise BagError(f"{recording.path.name} has no topic {name}{kind}{nearest(name, known)}")
    if not recording.counts[found]:
        raise BagError(f"{recording.path.name} has no message on {found}")
    return recording.topics[found]


def guessed(path: Path, **sources: Any) -> dict[str, str]:
    """By feature, the topic that it would be made of where no map says otherwise; empty for what is no recording."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BagWarning)
        try:
            with Recording(path) as recording:
                found = completed(recording, DatasetMap(), **sources)
                rewards = "measured" if found.images else "none: there is no camera to measure them"
                if recorded_rewards(recording, RewardOf().topic):
                    rewards = RewardOf().topic
        except BagError:
            return {}
    parts = {"observation.state": found.state, "action": found.action}
    named = {name: ", ".join(vector.topic for vector in made or ()) for name, made in parts.items()}
    named |= {f"observation.images.{name}": topic for name, topic in (found.images or {}).items()}
    return named | {"task": found.task.topic, "next.reward": rewards}


def recorded_rewards(recording: Recording, topic: str) -> bool:
    """Whether there are rewards on a topic."""
    known = recording.topics.get(topic)
    return known is not None and known.type == REWARD and recording.counts[topic] > 0


def cameras_of(recording: Recording, **sources: Any) -> dict[str, Any]:
    """Cameras by name, as :func:`find_sources` has them; none where it finds none and nothing is named."""
    try:
        return find_sources(recording, **sources).cameras
    except BagError:
        if sources:
            raise
        return {}


def _joints(recording: Recording) -> list[Topic]:
    found = [t for t in _filled(recording, (JOINTS,)) if not COMMANDING & set(words(t.name))]
    return sorted(found, key=lambda t: (len(words(t.name)), t.name))


def _commands(recording: Recording) -> list[Topic]:
    found = [t for t in _filled(recording, COMMANDS) if COMMANDING & set(words(t.name))]
    return sorted(found, key=lambda t: (COMMANDS.index(t.type), t.name))


def _task(recording: Recording, given: Text) -> Text:
    if given.topic or given.text:
        return given
    return next((Text(topic=t.name) for t in _filled(recording, (STRING,)) if TELLING & set(words(t.name))), given)


def _filled(recording: Recording, types: Collection[str]) -> list[Topic]:
    return [t for name, t in sorted(recording.topics.items()) if t.type in types and recording.counts[name]]
