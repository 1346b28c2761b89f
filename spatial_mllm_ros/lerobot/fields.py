"""Numbers and texts out of messages, by the names of their fields."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..recordings.errors import BagError
from .map import Vector, nearest

CUSTOMARY = {
    "sensor_msgs/msg/JointState": "position",
    "trajectory_msgs/msg/JointTrajectory": "points.0.positions",
    "nav_msgs/msg/Odometry": "pose.pose",
    "geometry_msgs/msg/PoseWithCovarianceStamped": "pose.pose",
}
"""Where messages of a type have their numbers, where the map does not say; else all their numbers are taken."""
NOT_NUMBERS = ("std_msgs/msg/Header", "std_msgs/msg/MultiArrayLayout", "builtin_interfaces/msg/Time")
MOST = 10_000  # numbers of a vector


class VectorReader:
    """Takes a vector out of messages of one topic; how long it is, and of what, the first message decides.

    Attributes:
        names: of its numbers. field: where they are in a message; empty: all of it.

    Raises:
        BagError: the first message has no such field, or it holds no numbers; the text has the nearest that is there.
            Or its joints have not one number each, or one of them is named twice.
    """

    def __init__(self, vector: Vector, first: Any):
        self._topic = vector.topic
        self.field = vector.field or CUSTOMARY.get(first.__msgtype__, "")
        self._joints = vector.joints or joints_of(first)
        found = list(_numbers(walk(first, self.field, self._topic), ""))
        given = joints_of(first)
        if vector.joints and not given:
            raise BagError(f"{self._topic}: {first.__msgtype__} names no joints")
        if unknown := [joint for joint in vector.joints if joint not in given]:
            raise BagError(f"{self._topic} has no joint {unknown[0]}{nearest(unknown[0], given)}")
        if not found or len(found) > MOST:
            where = f"its field {self.field}" if self.field else f"a {first.__msgtype__}"
            raise BagError(f"{self._topic}: {where} has {len(found)} numbers, expected 1 to {MOST:,}")
        if len(found) != len(given):
            if given and (vector.joints or self.field == CUSTOMARY.get(first.__msgtype__)):
                raise BagError(f"{self._topic} names {len(given)} joints, and {self.field} has {len(found)} numbers")
            self._joints = ()
        self._refuse_twice(given)
        prefix = self.field.rpartition(".")[2]
        numbered = [
            name if name and not name.isdigit() else f"{prefix or 'value'}{name and '_'}{name}" for name, _ in found
        ]
        self.names: tuple[str, ...] = self._joints or tuple(numbered)

    def __call__(self, message: Any) -> NDArray[np.float32] | None:
        """The vector, [D]; None where a message has none: it is of other joints, or not all numbers are finite.

        Raises:
            BagError: it has another length than those before, or names a joint twice.
        """
        try:
            value = walk(message, self.field, self._topic)
        except BagError:  # the first message has it, so a list is shorter here: a trajectory without points
            return None
        numbers = [number for _, number in _numbers(value, "")]
        if self._joints:
            given = joints_of(message)
            self._refuse_twice(given)
            if len(given) != len(numbers) or not set(self._joints) <= set(given):
                return None
            by_name = dict(zip(given, numbers))
            numbers = [by_name[joint] for joint in self._joints]
        if len(numbers) != len(self.names):
            raise BagError(
                f"{self._topic} changes its length: {self.field or 'it'} had {len(self.names)} numbers and now has"
                f" {len(numbers)}"
            )
        with np.errstate(over="ignore"):
            vector = np.array(numbers, np.float64).astype(np.float32)
        return vector if np.isfinite(vector).all() else None

    def _refuse_twice(self, given: Sequence[str]) -> None:
        if self._joints and (joint := twice(given)):
            raise BagError(f"{self._topic} names the joint {joint} twice in one message")


def twice(names: Sequence[str]) -> str | None:
    """The first name that is there more than once; None where there is none."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def walk(message: Any, field: str, topic: str) -> Any:
    """What a field holds, like ``points.0.positions``.

    Raises:
        BagError: it is not there; the text has the nearest that is.
    """
    value = message
    for part in field.split(".") if field else ():
        if part.isdigit() and isinstance(value, (list, np.ndarray)):
            if int(part) >= len(value):
                raise BagError(f"{topic}: {field} has no number {part}, it is of length {len(value)}")
            value = value[int(part)]
        elif part in (known := _fields(value)):
            value = getattr(value, part)
        else:
            raise BagError(f"{topic} has no field {field}: no {part}{nearest(part, known, 'its fields are')}")
    return value


def _fields(value: Any) -> list[str]:
    return [f.name for f in fields(value) if f.name != "__msgtype__"] if is_dataclass(value) else []


def _numbers(value: Any, name: str) -> Iterator[tuple[str, float]]:
    """(name, number) of all numbers in a value, one after another."""
    if isinstance(value, (bool, int, float, np.generic)):
        yield name, float(value)
    elif isinstance(value, np.ndarray):
        yield from ((_below(name, str(i)), float(number)) for i, number in enumerate(value.ravel()[: MOST + 1]))
    elif isinstance(value, list):
        for i, inner in enumerate(value[: MOST + 1]):
            yield from _numbers(inner, _below(name, str(i)))
    elif is_dataclass(value) and getattr(value, "__msgtype__", "") not in NOT_NUMBERS:
        for inner in _fields(value):
            yield from _numbers(getattr(value, inner), _below(name, inner))


def _below(name: str, inner: str) -> str:
    return f"{name}.{inner}" if name else inner


def joints_of(message: Any) -> tuple[str, ...]:
    """Names that a message gives its numbers, as JointState and JointTrajectory do."""
    found: Sequence[Any] = getattr(message, "name", None) or getattr(message, "joint_names", None) or ()
    return tuple(found) if isinstance(found, list) and all(isinstance(name, str) for name in found) else ()
