"""Which topics of a recording are cameras, and where their poses come from: told by types, first messages and names."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any

from ..config import CameraParams, Config
from ..errors import BadMessage
from ..messages import NotDepth, depth_pixels
from ..topic_names import is_registered, split, words
from .decided import decided
from .errors import BagError
from .limits import IMAGE_TOPICS
from .poses import PoseSource, find_poses
from .recording import Recording, require
from .types import CAMERA_INFO, IMAGE, IMAGES

COLOR_WORDS = {"color", "colour", "rgb"}
DEPTH_FORMS = ("16UC1", "32FC1", "compressedDepth")
OTHER_WORDS = {"infra", "infra1", "infra2", "ir", "confidence", "disparity", "mask", "label"}


@dataclass(frozen=True)
class CameraTopics:
    """Recorded topics of one camera; ``depth`` is empty where there is none, ``depth_info`` where colour's holds."""

    image: str
    depth: str
    camera_info: str
    depth_info: str = ""


@dataclass(frozen=True)
class Sources:
    """What a recording is read from: cameras by name, poses, what could not be used, and what was decided, in words."""

    cameras: dict[str, CameraTopics]
    poses: PoseSource
    problems: list[str]
    notes: list[str] = field(default_factory=list)

    def config(self, base: Config | None = None) -> Config:
        """The parameters for reading it: those of ``base``, with these cameras and this source of poses."""
        base = base or Config()
        params = {
            name: CameraParams(
                image_topic=t.image, depth_topic=t.depth, camera_info_topic=t.camera_info, depth_info_topic=t.depth_info
            )
            for name, t in self.cameras.items()
        }
        pose = replace(base.pose, **{name: value for name, value in vars(self.poses).items() if value})
        return replace(base, cameras=list(self.cameras), camera_params=params, pose=pose)


def find_sources(
    recording: Recording,
    *,
    cameras: Collection[str] | Mapping[str, Any] = (),
    image: str | None = None,
    depth: str | None = None,
    camera_info: str | None = None,
    depth_info: str | None = None,
    **poses: str | None,
) -> Sources:
    """Cameras and poses of a recording; what is not named is found by type, content and name.

    Args:
        cameras: names among those found; or name -> CameraTopics or dict of their topics.
        image, depth, camera_info, depth_info: topics of the only camera; an empty ``depth`` means none, an empty
            ``depth_info`` that depth is registered to colour.
        poses: ``odometry`` or ``pose`` name a topic; ``world_frame`` a frame; ``child_frame`` what a PoseStamped moves.

    Raises:
        BagError: no camera, or a name that is not there or is of another type; the text lists what would do.
    """
    finder = _Finder(recording)
    if isinstance(cameras, Mapping):
        found = {name: finder.complete(**(t if isinstance(t, dict) else vars(t))) for name, t in cameras.items()}
    elif image is not None:
        name = next(iter(cameras), None) or _names([_space(image)])[0]
        found = {name: finder.complete(image, depth, camera_info, depth_info)}
    else:
        found = finder.cameras()
        if unknown := [c for c in cameras if c not in found]:
            known = ", ".join(found) or "none"
            raise BagError(f"{recording.path.name} has no camera '{unknown[0]}'; cameras found: {known}")
        found = {name: topics for name, topics in found.items() if not cameras or name in cameras}
        if any(topic is not None for topic in (depth, camera_info, depth_info)):
            if len(found) != 1:
                raise BagError(f"there are {len(found)} cameras: with depth or camera_info, name the image topic too")
            found = {name: finder.complete(t.image, depth, camera_info, depth_info) for name, t in found.items()}
    if not found:
        raise BagError(f"{recording.path.name} has no camera: {finder.why_none()}")
    source, problems = find_poses(recording, finder.optical_frame(next(iter(found.values()))), **poses)
    finder.explain_missing_depth(found)
    sources = Sources(found, source, finder.problems + problems)
    for name, topics in sources.config().camera_params.items():
        notes, problems = decided(recording, name, topics)
        sources.notes.extend(notes)
        sources.problems.extend(problems)
    return sources


class _Finder:
    """Sorts the image topics of a recording into colour and depth, and pairs them."""

    def __init__(self, recording: Recording):
        self.recording = recording
        self.problems: list[str] = []
        self._no_depth: dict[str, str] = {}  # topics that might be taken for depth -> why they are none
        by_kind: dict[str, list[str]] = defaultdict(list)
        for name, kind in sorted(self._looked_at().items()):
            by_kind[kind].append(name)
        self.color, self.depth, self.info = by_kind["color"], by_kind["depth"], by_kind["info"]

    def cameras(self) -> dict[str, CameraTopics]:
        """One camera for every namespace with a colour image and its camera_info, with the depth nearest to it."""
        spaces: dict[str, list[str]] = defaultdict(list)
        for name in self.color:
            if self._info_for(name):
                spaces[_space(name)].append(name)
            else:
                self.problems.append(f"{name} is not used: no CameraInfo topic belongs to it")
        images = {space: min(names, key=_color_rank) for space, names in spaces.items()}
        depths = self._pair(list(images.values()))
        order = sorted(images, key=lambda s: (images[s] not in depths, s))
        return {
            name: self._camera(images[s], depths.get(images[s], ""), self._info_for(images[s]))
            for name, s in zip(_names(order), order, strict=True)
        }

    def complete(
        self, image: str, depth: str | None = None, camera_info: str | None = None, depth_info: str | None = None
    ) -> CameraTopics:
        """A camera of which at least the image is named; what is named is checked."""
        require(self.recording, image, IMAGES)
        if depth is None:
            depth = self._pair([image]).get(image, "")
        elif depth:
            require(self.recording, depth, IMAGES)
        if camera_info is None:
            camera_info = self._info_for(image)
            if not camera_info:
                raise BagError(f"no CameraInfo topic belongs to {image}; there are: {', '.join(self.info) or 'none'}")
        require(self.recording, camera_info, [CAMERA_INFO])
        if depth_info:
            require(self.recording, depth_info, [CAMERA_INFO])
        return self._camera(image, depth, camera_info, depth_info)

    def optical_frame(self, camera: CameraTopics) -> str:
        """The frame of a camera: that of camera_info, or of its images where that names none."""
        first = (self.recording.first(name) for name in (camera.camera_info, camera.image))
        return next((m.header.frame_id.lstrip("/") for m in first if m and m.header.frame_id), "")

    def explain_missing_depth(self, cameras: Mapping[str, CameraTopics]) -> None:
        """Say of topics that look like depth why they are none, where a camera has to do without."""
        if not all(camera.depth for camera in cameras.values()):
            self.problems += [f"{name} is not used: {why}" for name, why in self._no_depth.items()]

    def why_none(self) -> str:
        """What is missing for a camera."""
        if self.problems:
            return "; ".join(self.problems)
        topics = ", ".join(sorted(self.recording.topics)) or "none"
        return f"no Image or CompressedImage topic with colour; topics: {topics}"

    def _looked_at(self) -> dict[str, str]:
        """What topics of images are, by their first messages, and those of camera_info."""
        topics = self.recording.topics.values()
        images = sorted(t.name for t in topics if t.type in IMAGES)
        if left := len(images[IMAGE_TOPICS.most :]):
            text = f"the first {IMAGE_TOPICS.most} by name are"
            self.problems.append(f"{left} topics of images are not looked at: {text}")
        found = self.recording.firsts(images[: IMAGE_TOPICS.most])
        kinds = {name: self._kind(name, message) for name, message in found}
        return kinds | {t.name: "info" for t in topics if t.type == CAMERA_INFO}

    def _kind(self, name: str, message: Any) -> str:
        if message is None or OTHER_WORDS & set(words(name)):
            return ""
        form = message.encoding if self.recording.topics[name].type == IMAGE else message.format
        if not any(sign in form for sign in DEPTH_FORMS) and not any("depth" in word for word in words(name)):
            return "color"
        try:
            depth_pixels(message)
        except NotDepth as error:  # a picture of depth for people
            self._no_depth[name] = str(error)
            return ""
        except BadMessage:  # others of it may be whole
            pass
        return "depth"

    def _info_for(self, image: str) -> str:
        """The camera_info beside an image, else the nearest one that is not about depth, else the only one."""
        beside = f"{split(image)[0].rpartition('/')[0]}/camera_info"
        if beside in self.info:
            return beside
        near = [n for n in self.info if _shared(n, image) and not any("depth" in w for w in words(n))]
        if near:
            return max(near, key=lambda n: _shared(n, image))
        return self.info[0] if len(self.info) == 1 else ""

    def _camera(self, image: str, depth: str, camera_info: str, depth_info: str | None = None) -> CameraTopics:
        """With the camera_info beside depth, unless depth says that it is at the pixels of colour."""
        if depth_info is None:
            beside = f"{split(depth)[0].rpartition('/')[0]}/camera_info"
            depth_info = beside if beside in self.info and not is_registered(depth) else ""
        return CameraTopics(image, depth, camera_info, depth_info if depth else "")

    def _pair(self, images: list[str]) -> dict[str, str]:
        """image -> depth; the pair with most in common first, a depth topic serves one camera."""
        pairs = [(i, d) for i in images for d in self.depth if _shared(i, d) or len(self.color) == 1]
        pairs.sort(key=lambda p: (-_shared(*p), not is_registered(p[1]), _color_rank(p[0]), _color_rank(p[1])))
        chosen: dict[str, str] = {}
        taken: set[str] = set()
        for image, depth in pairs:
            if image not in chosen and split(depth)[0] not in taken:
                chosen[image] = depth
                taken.add(split(depth)[0])
        return chosen


def _space(name: str) -> str:
    """The namespace of the camera that an image topic belongs to."""
    parts = split(name)[0].strip("/").split("/")[:-1]
    if parts and parts[-1].lower() in COLOR_WORDS:
        parts.pop()
    return "/".join(parts)


def _names(spaces: list[str]) -> list[str]:
    """Short camera names: the last part of each namespace, or all of it where that does not tell them apart."""
    short = [space.rpartition("/")[2] or "camera" for space in spaces]
    return [s if short.count(s) == 1 else space.replace("/", "_") or s for s, space in zip(short, spaces)]


def _shared(a: str, b: str) -> int:
    """Number of leading name parts in common."""
    parts = (split(name)[0].strip("/").split("/")[:-1] for name in (a, b))
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(*parts))))


def _color_rank(name: str) -> tuple[bool, bool, bool, str]:
    """Smallest for the topic that is most surely the camera's main image; raw before compressed."""
    namespace = split(name)[0].lower().split("/")[:-1]
    return not COLOR_WORDS & set(namespace), not COLOR_WORDS & set(words(name)), split(name)[1] != "raw", name
