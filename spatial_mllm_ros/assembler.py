"""From messages to frames: pairs image with depth, adds camera and pose, and says what it had to drop and why.

The node and the bag reader feed the same assembler, so that a live run and an offline run see the same frames.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import Any, Literal, NamedTuple

from .config import Config
from .errors import BadMessage
from .frames import Frame, Pixels
from .geometry.poses import Matrix
from .geometry.still_view import StillView, why_not_still
from .geometry.transform_buffer import Reason, TransformBuffer, TransformError
from .messages import bits_in_use, color_pixels, depth_pixels, pose_from_pose, pose_from_transform, stamp_ns
from .optics import DEPTH_SIZE, NotRegistered, Optics

MAX_WAITING = 100  # images of one camera that may wait for depth, camera_info or pose
MAX_TEXT = 500
MAX_REFUSED = 64  # frames whose broken transforms are remembered
WIDEST_GAP_NS = 10_000_000_000  # that pose.max_gap may allow
NO_DEPTH, NO_POSE, BITS = "no depth", "no pose", "bits in use"  # reasons
LEFT_OUT, WITHOUT_DEPTH, WITHOUT_POSE = "images left out, ", "frames without depth", "frames without pose"  # of lacking
FASTEST = 20  # that time may go on in stamps while it goes on here: so fast are recordings played
MANY, FEW, LONG_NS = 10, 3, 2_000_000_000  # images in a row of another time, which is believed then; few after so long
JUMP_NS = 1_000_000_000  # a stamp this far before the last one of its camera is a time jump, not a late message


Part = Literal["depth", "pose", "pose of depth"]
"""What a frame may have besides image and camera; ``pose of depth``: a pose where it has depth."""


def needs_of(config: Config) -> frozenset[Part]:
    """The parts that a frame must have for what these parameters ask for: it is of no use without them."""
    if config.coverage.source == "vggt" or config.motion.source != "geometry":  # to a model an image is enough
        return frozenset()
    return frozenset(("depth", "pose") if config.coverage.source == "depth" else ("pose of depth",))


@dataclass(eq=False)
class _Waiting:
    stamp: int
    arrived: int
    color: Pixels
    frame_id: str


class _Depth(NamedTuple):
    stamp: int
    pixels: Pixels | str  # or what is wrong with it
    frame_id: str


@dataclass(eq=False)
class _Stream:
    """What one camera has sent and what still waits."""

    has_depth_topic: bool
    optics: Optics
    bad_info: str = ""  # what is wrong with the latest camera_info, while there is no camera
    images: deque[_Waiting] = field(default_factory=deque)
    depths: deque[_Depth] = field(default_factory=lambda: deque(maxlen=MAX_WAITING))
    view: StillView = field(default_factory=StillView)
    last_stamp: int = 0
    arrived: int = 0  # when the latest image came that was not doubted
    doubted: list[tuple[Any, int]] = field(default_factory=list)  # images of another time, and when they came
    done_stamp: int = 0  # of the image that was decided last
    wanting: int = 0  # the widest difference to a depth that could well be paired, ns
    bits: int = 0  # of samples of 16 bits, how many are in use

    @property
    def optical_frame(self) -> str:
        """The camera's frame, by camera_info or by the images where that names none; empty where it is not known."""
        return self.optics.frame_id or next((image.frame_id for image in self.images), "")


class FrameAssembler:
    """Feed messages in the order they arrive, take frames out.

    Args:
        config: cameras, pose source and tolerances.
        needs: parts that a frame must have; by default those of :func:`needs_of`. The others are waited for as long,
            but an image goes on without them.

    Attributes:
        transforms: the TransformBuffer that poses come from.
        dropped: number of images that never became a frame, by reason: what was missing, or wrong with it.
        problems: reason -> the latest message about it, which also says why, for warnings.
        lacking: (camera, what, kind of cause) -> how many images were left out, or frames had to go on without a part
            that has a source, and the latest message about it; never forgotten.
        moved: by camera, where that is known beforehand: whether it moves though no transform moves it. Its poses are
            not known then; else they are trusted.
        jumps: number of time jumps seen; on each, everything that waited and all stamped transforms are forgotten.
    """

    def __init__(self, config: Config, needs: Collection[Part] | None = None):
        self.config = config
        self._needs = needs_of(config) if needs is None else frozenset(needs)
        self.dropped: Counter[str] = Counter()
        self.problems: dict[str, str] = {}
        self.lacking: dict[tuple[str, str, str], tuple[int, str]] = {}
        self.moved: Mapping[str, bool] = {}
        self.jumps = 0
        history = max(10.0, 2 * config.pose.max_wait, 2 * config.pose.max_gap + config.pose.max_wait)
        self.transforms = TransformBuffer(int(config.pose.max_gap * 1e9), int(history * 1e9))
        self._streams = {
            name: _Stream(bool(params.depth_topic), Optics(name, params))
            for name, params in ((name, config.camera(name)) for name in config.cameras)
        }
        self._tolerance = int(config.sync.tolerance * 1e9)
        self._max_wait = int(config.pose.max_wait * 1e9)
        self._posed_child: str | None = None
        self._said: dict[str, int] = {}  # stream -> its latest stamp
        self._refused: dict[str, str] = {}  # child frame -> what is wrong with its latest broken transform
        self._hole = 0  # the widest hole between transforms that was met, ns

    def feeder(self, kind: str, camera: str = "") -> Callable[[Any, int], None]:
        """What is called with each message of a topic: ``feed(message, now_ns)``.

        Args:
            kind: ``image``, ``depth``, ``camera_info``, ``depth_info``, ``pose``, ``tf`` or ``tf_static``.
            camera: name of the camera it belongs to; empty for poses and transforms.
        """
        if kind == "image":
            return partial(self.add_color, camera)
        feed = {
            "depth": partial(self.add_depth, camera),
            "camera_info": partial(self.add_info, camera),
            "depth_info": partial(self.add_info, camera, of_depth=True),
            "tf": self.add_transforms,
            "tf_static": partial(self.add_transforms, static=True),
            "pose": self.add_odometry if self.config.pose.source == "odometry" else self.add_pose,
        }[kind]
        return lambda msg, _now_ns: feed(msg)

    def add_color(self, camera: str, msg: Any, now_ns: int) -> None:
        """A colour Image or CompressedImage; a broken one is dropped and counted, never raised."""
        stream, stamp = self._streams[camera], stamp_ns(msg.header.stamp)
        if stamp <= 0:
            return self._drop("zero stamp", camera, "an image has no time stamp")
        if not stream.last_stamp or _goes_on(stream.last_stamp, stream.arrived, stamp, now_ns):
            self._drop_doubted(camera)
            return self._add_color(camera, msg, now_ns)
        if stream.doubted:
            last, came = stream.doubted[-1]
            if stamp <= (last_stamp := stamp_ns(last.header.stamp)) or not _goes_on(last_stamp, came, stamp, now_ns):
                self._drop_doubted(camera)
        stream.doubted.append((msg, now_ns))
        return self._believe(camera)

    def _believe(self, camera: str) -> None:
        """Take the images of another time, once another stream says that time too, or there are many of them."""
        doubted = self._streams[camera].doubted
        if not doubted:
            return
        newest, long = stamp_ns(doubted[-1][0].header.stamp), doubted[-1][1] - doubted[0][1] > LONG_NS
        others = (said for name, said in self._said.items() if name != f"image {camera}")
        if len(doubted) >= (FEW if long else MANY) or any(abs(said - newest) <= JUMP_NS for said in others):
            images, self._streams[camera].doubted = doubted, []
            for msg, now_ns in images:
                self._add_color(camera, msg, now_ns)

    def _drop_doubted(self, camera: str) -> None:
        doubted, self._streams[camera].doubted = self._streams[camera].doubted, []
        for msg, _ in doubted:
            stamp = stamp_ns(msg.header.stamp) / 1e9
            self._drop("stray stamp", camera, f"an image is stamped {stamp:.3f} s, and nothing else was at that time")

    def _add_color(self, camera: str, msg: Any, now_ns: int) -> None:
        stream, stamp = self._streams[camera], stamp_ns(msg.header.stamp)
        self._said[f"image {camera}"] = stamp
        if stamp < stream.last_stamp - JUMP_NS:
            self._jump_back(stamp)
        elif stamp <= stream.last_stamp:
            return self._drop("stale stamp", camera, "an image's stamp repeats or goes back")
        try:
            bits = max(stream.bits, bits_in_use(msg))
            color = color_pixels(msg, bits)
        except BadMessage as error:
            return self._drop("bad image", camera, str(error))
        if stream.bits < bits < 16:
            self.note(BITS, f"camera '{camera}': {msg.encoding} images are shown by {bits} bits of 16")
        stream.last_stamp, stream.arrived, stream.bits = stamp, now_ns, bits
        stream.images.append(_Waiting(stamp, now_ns, color, _frame_id(msg)))
        if len(stream.images) > MAX_WAITING:
            self._give_up(stream, camera, "queue full", f"more than {MAX_WAITING} images wait")

    def add_depth(self, camera: str, msg: Any) -> None:
        """A depth Image or CompressedImage; a broken one is reported and leaves its image without depth."""
        stream, stamp = self._streams[camera], stamp_ns(msg.header.stamp)
        try:
            depth = depth_pixels(msg)
        except BadMessage as error:
            self.note("bad depth", f"camera '{camera}': {error}")
            depth = str(error)[:MAX_TEXT]
        self._said[f"depth {camera}"] = stamp
        stream.depths.append(_Depth(stamp, depth, _frame_id(msg)))
        while stream.depths[0].stamp < stamp - self._max_wait - JUMP_NS:  # its image will not come any more
            stream.depths.popleft()

    def add_info(self, camera: str, msg: Any, of_depth: bool = False) -> None:
        """A CameraInfo, of colour or of depth; cameras stay the same objects for as long as it says the same."""
        self._said[f"camera_info {camera} {of_depth}"] = stamp_ns(msg.header.stamp)
        optics = self._streams[camera].optics
        try:
            (optics.add_depth_info if of_depth else optics.add_info)(msg)
        except BadMessage as error:
            text = f"{'depth: ' if of_depth else ''}{error}"
            self.note("bad camera_info", f"camera '{camera}': {text}")
            self._streams[camera].bad_info = text

    def add_transforms(self, msg: Any, static: bool = False) -> None:
        """A TFMessage; a broken transform is reported, the others are kept."""
        for t in msg.transforms:
            if t.child_frame_id.lstrip("/") == self._posed_child:
                continue
            stamp = stamp_ns(t.header.stamp)
            self.add_transform(t.header.frame_id, t.child_frame_id, stamp, pose_from_transform, t.transform, static)

    def add_odometry(self, msg: Any) -> None:
        """An Odometry: the pose of its child frame; it replaces what /tf says of that frame."""
        self._posed_child = msg.child_frame_id.lstrip("/")
        stamp = stamp_ns(msg.header.stamp)
        self.add_transform(msg.header.frame_id, msg.child_frame_id, stamp, pose_from_pose, msg.pose.pose)

    def add_pose(self, msg: Any) -> None:
        """A PoseStamped: the pose of ``pose.child_frame``, or of the only camera's optical frame."""
        child = self.config.pose.child_frame
        if not child:
            child = next(iter(self._streams.values())).optical_frame
        if child:
            self._posed_child = child.lstrip("/")
            self.add_transform(msg.header.frame_id, child, stamp_ns(msg.header.stamp), pose_from_pose, msg.pose)

    def add_transform(
        self, parent: str, child: str, stamp: int, convert: Callable[[Any], Matrix], value: Any, static: bool = False
    ) -> None:
        """One transform, of which ``convert`` makes parent_from_child; a broken one is reported."""
        try:
            if not static and stamp <= 0:
                raise ValueError("a transform without a time stamp")
            self.transforms.add(parent.lstrip("/"), child.lstrip("/"), stamp, convert(value), static)
            if not static:
                self._said["transforms"] = stamp
        except ValueError as error:  # BadMessage is one too
            text = f"'{parent}' to '{child}': {error}"
            self.note("bad transform", text)
            if len(self._refused) < MAX_REFUSED:
                self._refused[child.lstrip("/")] = text[:MAX_TEXT]

    def take(self, now_ns: int, flush: bool = False) -> list[Frame]:
        """Frames that are complete, in order of time within each camera.

        Args:
            now_ns: present time on the clock of ``add_color``; images that waited ``pose.max_wait`` are given up.
            flush: nothing more will come; give up whatever cannot be completed now.
        """
        frames = []
        for name, stream in self._streams.items():
            self._believe(name)
            if flush:
                self._drop_doubted(name)
            while stream.images:
                frame = self._complete(name, stream, flush or now_ns - stream.images[0].arrived > self._max_wait)
                if frame is None:
                    break
                if isinstance(frame, Frame):
                    frames.append(frame)
        frames.sort(key=lambda f: f.key)
        return frames

    def waits_from(self) -> int | None:
        """Stamp of the oldest image that waits; None where none does."""
        return min((stream.images[0].stamp for stream in self._streams.values() if stream.images), default=None)

    def begin_anew(self) -> None:
        """What comes has nothing to do with what was: forget all that has a stamp."""
        self.jumps += 1
        self.transforms.forget_after(0)
        for stream in self._streams.values():
            stream.images.clear()
            stream.depths.clear()
            stream.doubted.clear()
            stream.last_stamp = stream.done_stamp = 0
            stream.view = StillView()

    def _jump_back(self, stamp: int) -> None:
        """Time went back to this stamp: forget what waits, and depth and transforms of the abandoned future."""
        self.jumps += 1
        self.transforms.forget_after(stamp + JUMP_NS)
        for name, stream in self._streams.items():
            for image in stream.images:
                text = f"time jumped back from {image.stamp / 1e9:.3f} to {stamp / 1e9:.3f} s"
                self._drop("time jump", name, text)
            stream.images.clear()
            now = [d for d in stream.depths if abs(d.stamp - stamp) < JUMP_NS]
            stream.depths.clear()
            stream.depths.extend(now)
            stream.last_stamp = stream.done_stamp = 0
            stream.view = StillView()

    def _complete(self, name: str, stream: _Stream, patience_over: bool) -> Frame | bool | None:
        """The oldest image's frame, True where it was given up, or None to wait on."""
        image = stream.images[0]
        if not stream.optics.known:
            why = stream.bad_info or "no camera_info has come"
            return self._give_up(stream, name, "no camera_info", why) if patience_over else None
        depth = None
        if stream.has_depth_topic:
            depth = self._depth_for(stream, image.stamp, patience_over)
            if depth is None and not patience_over and not self._passed(stream, image.stamp + self._tolerance):
                return None
        if depth is None and "depth" in self._needs:
            return self._give_up(stream, name, NO_DEPTH, self._why_no_depth(stream, image.stamp))
        try:
            camera = stream.optics.camera(image.color, image.frame_id)
        except BadMessage as error:
            return self._give_up(stream, name, "image size", f"image of {error}")
        sensor, refusal = None, ""
        pixels = depth.pixels if depth is not None and isinstance(depth.pixels, Pixels) else None
        if depth is not None and pixels is not None:
            lookup = partial(self.transforms.lookup, stamp_ns=depth.stamp)
            try:
                sensor = stream.optics.registration(camera, pixels, depth.frame_id, lookup)
            except NotRegistered as refused:
                if refused.waits and not patience_over:
                    return None
                if refused.reason == DEPTH_SIZE or "depth" in self._needs:
                    return self._give_up(stream, name, refused.reason, str(refused))
                refusal = str(refused)
                self.note(refused.reason, f"camera '{name}': {refusal}")
                depth = pixels = None
        world = self.config.pose.world_frame.lstrip("/")
        pose, why, kind = None, "", ""
        try:
            pose = self.transforms.lookup(world, camera.frame_id, image.stamp)
        except TransformError as error:
            waits = error.reason in (Reason.TOO_NEW, Reason.UNKNOWN_FRAME, Reason.NOT_CONNECTED)
            if waits and not patience_over:
                return None
            why, kind = self._why_no_pose(error, world, camera.frame_id), error.reason.value
        frame = Frame(
            image.stamp,
            camera,
            image=image.color,
            depth=pixels,
            sensor=sensor,
            world_from_camera=pose,
            world_frame=world,
        )
        if pose is not None and not self._stands(stream, frame, world):
            frame.world_from_camera = None
            why, kind = why_not_still(world, camera.frame_id), "moved"
        if why:
            if "pose" in self._needs or (depth is not None and "pose of depth" in self._needs):
                return self._give_up(stream, name, NO_POSE, why, kind)
            text = self._count(WITHOUT_POSE, name, why, kind)
            if pose is not None:
                self.note(NO_POSE, text)
        if depth is None and stream.has_depth_topic:
            self._count(WITHOUT_DEPTH, name, refusal or self._why_no_depth(stream, image.stamp))
        stream.done_stamp = image.stamp
        stream.images.popleft()
        for _ in range(len(stream.depths)):  # those that no later image can want go, whatever their order
            if (kept := stream.depths.popleft()).stamp > image.stamp - self._tolerance:
                stream.depths.append(kept)
        return frame

    def _stands(self, stream: _Stream, frame: Frame, world: str) -> bool:
        """Whether the pose is one: something moves the camera by it, or the camera stands still."""
        if self.config.pose.still or self.transforms.moves(world, frame.camera.frame_id):
            return True
        known = self.moved.get(frame.camera.name)
        return not (stream.view.look(frame) if known is None else known)

    def _depth_for(self, stream: _Stream, stamp: int, patience_over: bool) -> _Depth | None:
        """The depth nearest in time; an inexact match waits for a later, nearer one while there is patience."""
        good = (d for d in stream.depths if isinstance(d.pixels, Pixels))
        near = min(good, key=lambda d: abs(d.stamp - stamp), default=None)
        if near is None or abs(near.stamp - stamp) > self._tolerance:
            return None
        final = near.stamp >= stamp or patience_over or self._passed(stream, stamp)
        return near if final else None

    def _why_no_depth(self, stream: _Stream, stamp: int) -> str:
        if not stream.has_depth_topic:
            return "it has no depth topic"
        nearest = min(stream.depths, key=lambda d: abs(d.stamp - stamp), default=None)
        away, near = (abs(nearest.stamp - stamp), nearest.pixels) if nearest else (0, None)
        if isinstance(near, str) and away <= self._tolerance:
            return near
        text = f"no depth within {self._tolerance / 1e9:g} s (sync.tolerance) of the image at {stamp / 1e9:.3f} s"
        if near is None:
            return f"{text}; none waits"
        text = f"{text}; the nearest is {away / 1e9:.3f} s away"
        if stream.done_stamp and 2 * away < stamp - stream.done_stamp:  # nearer to this image than to any other
            stream.wanting = max(stream.wanting, away)
        if stream.wanting:
            text += f"; sync.tolerance (--tolerance) of {ceil(stream.wanting / 1e6) / 1e3:g} s would pair them"
        return text

    def _why_no_pose(self, error: TransformError, world: str, optical: str) -> str:
        text = str(error)
        if error.reason in (Reason.UNKNOWN_FRAME, Reason.NOT_CONNECTED):
            text += f"; poses are those of '{optical}' (camera_info) in '{world}' (pose.world_frame)"
            refused = next(iter(self._refused.values()), "")
        else:
            refused = self._refused.get(error.child, "")
        if error.reason == Reason.GAP:
            self._hole = max(self._hole, error.hole_ns)
            if self._hole <= WIDEST_GAP_NS:
                text += f"; pose.max_gap (--max-gap) of {ceil(self._hole / 1e8) / 10:g} s would bridge it"
        return f"{text}; a transform cannot be used: {refused}" if refused else text

    @staticmethod
    def _passed(stream: _Stream, stamp: int) -> bool:
        """Whether depth later than a stamp has come, so that no more is to be expected for it."""
        return any(d.stamp > stamp for d in stream.depths)

    def _give_up(self, stream: _Stream, camera: str, reason: str, text: str, kind: str = "") -> bool:
        stream.done_stamp = stream.images.popleft().stamp
        self._drop(reason, camera, text, kind)
        return True

    def _drop(self, reason: str, camera: str, text: str, kind: str = "") -> None:
        self.dropped[reason] += 1
        self.note(reason, self._count(LEFT_OUT + reason, camera, text, kind))

    def _count(self, what: str, camera: str, text: str, kind: str = "") -> str:
        text = f"camera '{camera}': {text}"[:MAX_TEXT]
        count, _ = self.lacking.get((camera, what, kind), (0, ""))
        self.lacking[camera, what, kind] = count + 1, text
        return text

    def note(self, reason: str, text: str) -> None:
        """Remember the latest problem of a kind; names in messages may be of any length, what is kept is not."""
        self.problems[reason] = text[:MAX_TEXT]


def _goes_on(stamp: int, arrived: int, later: int, now: int) -> bool:
    """Whether an image that comes now is of the same time as one that came before, and not years away."""
    return stamp - JUMP_NS <= later <= stamp + JUMP_NS + FASTEST * (now - arrived)


def _frame_id(msg: Any) -> str:
    return msg.header.frame_id.lstrip("/")
