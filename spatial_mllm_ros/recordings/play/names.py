"""Where recorded topics are published: below the player's namespace, or where a rule says.

ROS resolves the names: a recorded topic is handed to it as a relative one, unless it is of those that all robots share.
"""

from collections.abc import Iterable, Sequence

from ..errors import BagError

GLOBAL = frozenset({"/clock", "/diagnostics", "/parameter_events", "/rosout", "/tf", "/tf_static"})
"""What nodes name from the root, in whatever namespace they are."""


def given_name(topic: str, namespace: str) -> str:
    """What to publish a recorded topic as, in a node of that namespace: a relative name where that one counts."""
    topic = "/" + topic.lstrip("/")
    return topic if topic in GLOBAL or topic.startswith(namespace.rstrip("/") + "/") else topic[1:]


def parse_rule(rule: str) -> tuple[str, str]:
    """The recorded topic and the new name of a rule ``OLD:=NEW``.

    Raises:
        BagError: it is no such rule.
    """
    old, _, new = rule.partition(":=")
    if not old or not new:
        raise BagError(f"remap '{rule}': expected OLD:=NEW, like /camera/color/image_raw:=/front/color/image_raw")
    return "/" + old.lstrip("/"), new


def ros_arguments(namespace: str, rules: Iterable[str], more: Sequence[str] = ()) -> list[str]:
    """The arguments that a node with this namespace and these rules begins with, and ``more`` of them.

    Raises:
        BagError: a rule is not ``OLD:=NEW``.
    """
    out = ["--ros-args"]
    if namespace := namespace.strip("/"):
        out += ["-r", f"__ns:=/{namespace}"]
    for old, new in map(parse_rule, rules):
        for name in (old, old[1:]):  # as a global name, and as one in the namespace
            out += ["-r", f"{name}:={new}"]
    return [*out, *more]
