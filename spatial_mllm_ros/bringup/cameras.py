"""The cameras of a launch: named by its arguments, and fitted to what a recording has."""

from collections.abc import Collection, Mapping
from typing import Any

from ..config import CameraParams, Config, below, describe
from ..topic_names import TRANSPORTS, split

Values = dict[str, Any]  # parameters by their dotted names

NODE = "spatial_mllm"
KINDS = ("image", "depth", "camera_info", "depth_info")
NO_DEPTH = "none"
SHARED = {"/clock", "/diagnostics", "/parameter_events", "/rosout", "/tf", "/tf_static"}
"""Topics that all robots share: ``play`` keeps them out of its namespace."""


def choose(values: Values, camera: str) -> Values:
    """The same parameters for this camera alone: one of theirs, or their only one under this name.

    Raises:
        ValueError: there are several, none of this name.
    """
    cameras = names(values)
    if camera not in cameras and len(cameras) > 1:
        raise ValueError(f"camera = {camera}: the parameter file has {', '.join(cameras)}; choose one of them")
    chosen = camera if camera in cameras else cameras[0]
    out: Values = {"cameras": [camera]}
    for name, value in values.items():
        group, _, leaf = name.partition(".")
        if group == chosen:
            out[f"{camera}.{leaf}"] = value
        elif group not in (*cameras, "cameras"):
            out[name] = value
    return out


def point(values: Values, topics: dict[str, str]) -> Values:
    """The same parameters with other topics of the only camera.

    Args:
        topics: of KINDS; what is empty stays as it is. An image or depth topic is the very one that is subscribed to,
            ``/compressed`` and the like included; ``none`` is no depth, or no camera_info of depth. Where an image is
            given and no camera_info, it is the one beside that.

    Raises:
        ValueError: there are several cameras.
    """
    given = {kind: topics[kind] for kind in KINDS if topics.get(kind)}
    if not given:
        return values
    camera, *others = names(values)
    if others:
        several = ", ".join(names(values))
        raise ValueError(f"{next(iter(given))}_topic is of one camera, but there are {several}: name it with camera:=")
    out = dict(values)
    for kind in given.keys() - {"camera_info"}:
        plain, transport = split(given[kind])
        out[f"{camera}.{kind}_topic"] = "" if plain == NO_DEPTH else plain
        if kind != "depth_info":
            out[f"{camera}.{kind}_transport"] = transport
    if info := given.get("camera_info") or ("image" in given and beside(given["image"])):
        out[f"{camera}.camera_info_topic"] = info
    return out


def fit(
    values: Values, namespace: str, recorded: Collection[str], cameras: Collection[Mapping[str, str]] = ()
) -> tuple[Values, list[str], list[str]]:
    """The same parameters with the transports of a recording that is played in this namespace.

    Args:
        recorded: its topics.
        cameras: its cameras, each its topics by kind: they know the camera_info of depth that is not registered.

    Returns:
        the parameters, the recorded topics that the node will listen to, and those that the recording does not have,
        each with the parameter that names it.
    """
    published = {played(topic, namespace): topic for topic in recorded}
    infos = {played(split(c["depth"])[0], namespace): c["depth_info"] for c in cameras if c.get("depth_info")}
    out, heard, lacking = dict(values), [], []
    for camera in names(values):
        known = describe(CameraParams, f"{camera}.")
        for kind in KINDS:
            parameter, transport = f"{camera}.{kind}_topic", f"{camera}.{kind}_transport"
            topic = out.get(parameter, known[parameter]["default"])
            if not topic or (kind == "depth_info" and not out.get(f"{camera}.depth_topic", "by default")):
                continue
            plain = resolved(below(camera, topic), namespace)
            choices = known[transport]["choices"] if transport in known else ("raw",)
            there = [choice for choice in choices if plain + TRANSPORTS[choice] in published]
            if not there:
                lacking.append(f"{plain} ({parameter})")
                continue
            if (chosen := values.get(transport, "raw")) not in there:
                chosen = out[transport] = there[0]
            heard.append(published[plain + TRANSPORTS[chosen]])
            if kind == "depth" and plain in infos:
                out.setdefault(f"{camera}.depth_info_topic", played(infos[plain], namespace))
    return out, heard, lacking


def arguments(topics: Mapping[str, str], namespace: str) -> str:
    """The launch arguments for a camera of a recording, whose topics these are by kind."""
    names = ((kind, topics.get(kind, "")) for kind in KINDS if kind != "depth_info" or topics.get(kind))
    return " ".join(f"{kind}_topic:={played(topic, namespace) if topic else NO_DEPTH}" for kind, topic in names)


def shown(values: Values, namespace: str) -> str:
    """The colour image of the first camera, as a full name without transport."""
    camera = names(values)[0]
    topic = values.get(f"{camera}.image_topic", CameraParams().image_topic)
    return resolved(below(camera, topic), namespace)


def names(values: Values) -> list[str]:
    """Those of the parameters, or the default where they are no list of names, which is for others to say."""
    cameras = values.get("cameras")
    named = isinstance(cameras, list) and cameras and all(isinstance(camera, str) for camera in cameras)
    return list(cameras or ()) if named else Config().cameras


def beside(image: str) -> str:
    """The camera_info topic of an image topic, by the rule of image_transport."""
    folder, slash, _ = split(image)[0].rpartition("/")
    return f"{folder}{slash}camera_info"


def resolved(topic: str, namespace: str) -> str:
    """The full name of a topic of the node in a namespace, which begins with a slash, or is empty for the root."""
    return topic if topic.startswith("/") else f"{namespace}/{topic.replace('~', NODE, 1)}"


def played(topic: str, namespace: str) -> str:
    """Where ``play --namespace`` publishes a recorded topic."""
    topic = "/" + topic.lstrip("/")
    return topic if topic in SHARED or topic.startswith(f"{namespace}/") else namespace + topic
