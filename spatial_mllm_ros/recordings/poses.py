"""Where the camera poses of a recording come from: TF where it leads to the camera, else Odometry, else PoseStamped."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ..geometry.transform_buffer import chain
from .errors import BagError
from .limits import POSE_TOPICS
from .recording import Recording, require
from .types import ODOMETRY, POSE, TRANSFORMS

ODOM = "odom"  # the fixed frame where nobody names one (REP 105)
NO_CAMERA = ("object", "goal", "target", "initialpose", "setpoint")  # in names of PoseStamped topics of other things
LOOK_AHEAD = 2000  # transform messages read to learn the tree of frames


@dataclass(frozen=True)
class PoseSource:
    """Where poses come from; the fields are parameters of :class:`PoseParams`. ``source`` is empty for nowhere."""

    source: str = ""
    topic: str = ""
    child_frame: str = ""
    world_frame: str = ""


def find_poses(
    recording: Recording,
    camera_frame: str,
    *,
    odometry: str | None = None,
    pose: str | None = None,
    world_frame: str | None = None,
    child_frame: str | None = None,
) -> tuple[PoseSource, list[str]]:
    """The best source of poses for a camera, and what is wrong with it.

    Args:
        camera_frame: the camera's optical frame.
        odometry, pose: topic to take poses from, instead of the best one.
        world_frame: the fixed frame; else ``odom`` where TF has it, else the root of the camera's tree.
        child_frame: the frame that a PoseStamped topic moves; else the camera's.

    Raises:
        BagError: a named topic is not there or of another type, or the world frame is not connected to the camera.
    """
    if odometry and pose:
        raise BagError("odometry and pose are both named: poses come from one of them")
    tree, others = _tree(recording, world_frame or ODOM)

    def ancestors(frame: str) -> list[str]:
        return list(chain(frame, lambda name: tree[name][0] if name in tree else None))

    up = ancestors(camera_frame)
    world, problems = world_frame or (ODOM if ODOM in up else up[-1]), []
    for child in up[: up.index(world)] if world in up else ():
        if apart := [other for other in others[child] if world not in ancestors(other)]:
            text = f"'{child}' has several parents in TF: {', '.join([tree[child][0], *apart])}"
            problems.append(f"{text}; poses are those in '{world}' (--source world_frame=NAME takes another)")
    for source, name, kind in (("odometry", odometry, ODOMETRY), ("pose", pose, POSE)):
        if name:
            require(recording, name, [kind])
            child = (child_frame or camera_frame) if source == "pose" else ""
            return PoseSource(source, name, child, world_frame or _frame(recording, name)), problems
    if len(up) > 1 and not all(tree[frame][1] for frame in up[:-1]):
        return PoseSource("tf", "", "", _world(up, world_frame)), problems
    for name, message in _read(recording, ODOMETRY, problems):
        moved = message.child_frame_id.lstrip("/")
        if moved in up:
            return PoseSource("odometry", name, "", world_frame or _frame(recording, name)), problems
        problems.append(f"{name} moves '{moved}', to which the camera's frame '{camera_frame}' is not connected")
    found = _read(recording, POSE, problems)
    stamped = [name for name, _ in found if not any(word in name.lower() for word in NO_CAMERA)]
    if len(stamped) == 1:
        world = world_frame or _frame(recording, stamped[0])
        return PoseSource("pose", stamped[0], child_frame or camera_frame, world), problems
    if stamped:
        problems.append(f"several PoseStamped topics: name the camera's, one of {', '.join(stamped)}")
    if len(up) > 1:
        return PoseSource("tf", "", "", _world(up, world_frame)), problems
    nowhere = f"no camera poses: no TF leads to '{camera_frame}', and no Odometry or PoseStamped gives them"
    return PoseSource(), [nowhere, *problems]


def _world(up: list[str], wanted: str | None) -> str:
    """The fixed frame among the camera's frame and its ancestors."""
    if wanted and wanted not in up:
        text = f"world frame '{wanted}' is not connected to the camera's frame '{up[0]}'"
        raise BagError(f"{text}; connected: {', '.join(up[1:])}")
    return wanted or ("odom" if "odom" in up else up[-1])


def _read(recording: Recording, kind: str, problems: list[str]) -> list[tuple[str, Any]]:
    """(name, first message) of topics of a type; what cannot be read is added to ``problems``."""
    names = sorted(t.name for t in recording.topics.values() if t.type == kind and recording.counts[t.name])
    if left := len(names[POSE_TOPICS.most :]):
        problems.append(f"{left} topics of {kind} are not looked at: the first {POSE_TOPICS.most} by name are")
    found = sorted(recording.firsts(names[: POSE_TOPICS.most]), key=lambda one: one[0])
    problems += [f"{name} is not used: none of its messages can be read" for name, first in found if first is None]
    return [(name, first) for name, first in found if first is not None]


def _frame(recording: Recording, name: str) -> str:
    """The frame that the poses of a topic are given in."""
    message = recording.first(name)
    return message.header.frame_id.lstrip("/") if message else "odom"


def _tree(recording: Recording, world: str) -> tuple[dict[str, tuple[str, bool]], dict[str, list[str]]]:
    """child -> (parent, whether it is static), from the first transform messages; and child -> its other parents.

    Of several parents the fixed frame is taken, else the one that is named most often.
    """
    named: dict[str, Counter[tuple[str, bool]]] = defaultdict(Counter)
    for static, message in transform_messages(recording):
        for t in message.transforms:
            named[t.child_frame_id.lstrip("/")][t.header.frame_id.lstrip("/"), static] += 1
    tree, others = {}, {}
    for child, parents in named.items():
        tree[child] = max(parents, key=lambda parent: (parent[0] == world, parents[parent]))
        others[child] = [parent for parent, static in parents if not static and parent != tree[child][0]]
    return tree, others


def transform_messages(recording: Recording, static_only: bool = False) -> Iterator[tuple[bool, Any]]:
    """(static, message) of the first transform messages of a recording."""
    names = [t.name for t in recording.topics.values() if t.type == TRANSFORMS]
    for static in (True,) if static_only else (True, False):
        wanted = [name for name in names if is_static(name) == static]
        for _, _, message in islice(recording.decoded(wanted), LOOK_AHEAD):
            yield static, message


def is_static(name: str) -> bool:
    """Whether a topic of transforms holds static ones."""
    return name.endswith("static")
