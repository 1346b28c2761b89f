"""Every parameter, once: type, default, unit, range and meaning.

The node declares its ROS parameters from these dataclasses, the parameter files and docs/ros-api.md are checked against
them, and the command line takes its defaults from here. A nested dataclass is a dotted name: ``coverage.voxel_size``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from typing import Any

RCLPYS = ("use_sim_time", "start_type_description_service")
"""Parameters that rclpy itself takes care of."""
WHOLE = 2**63 - 1  # the largest whole number that ROS parameters hold
QOS = "qos_overrides."
"""What parameters begin with that override the QoS of topics."""


def is_ours(name: str) -> bool:
    """Whether a parameter is of this package rather than rclpy's."""
    return name not in RCLPYS and not name.startswith(QOS)


def below(camera: str, topic: str) -> str:
    """A topic of a camera: relative ones are below its name."""
    return topic if topic.startswith(("/", "~")) else f"{camera}/{topic}"


def param(default: Any, doc: str, *, unit: str = "", low=None, high=None, choices=(), live: bool = False) -> Any:
    """A documented parameter: unit, closed range, allowed values, and whether it may change in an active node."""
    meta = {"doc": doc, "unit": unit, "low": low, "high": high, "choices": tuple(choices), "live": live}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=meta)
    return field(default=default, metadata=meta)


@dataclass(frozen=True)
class CameraParams:
    """Topics of one camera; ``<name>.image_topic`` and so on for each name in ``cameras``."""

    image_topic: str = param("color/image_raw", "colour image; relative names are below the camera's name")
    image_transport: str = param(
        "raw", "how colour arrives; compressed adds /compressed to the topic", choices=("raw", "compressed")
    )
    depth_topic: str = param("depth/image_raw", "depth (16UC1 millimetres or 32FC1 metres); empty: RGB only")
    depth_transport: str = param(
        "raw",
        "how depth arrives; compressedDepth adds /compressedDepth, compressed adds /compressed, which may be of 8 bits",
        choices=("raw", "compressedDepth", "compressed"),
    )
    depth_info_topic: str = param(
        "", "intrinsics of depth, with which it is registered to colour; empty: it is registered, or refused"
    )
    camera_info_topic: str = param("color/camera_info", "intrinsics of the colour image")
    detections_topic: str = param(
        "", "vision_msgs/msg/Detection2DArray of a detector that looks at the colour image; empty: none"
    )


@dataclass(frozen=True)
class PoseParams:
    """Where camera poses come from."""

    source: str = param("tf", "tf, or a topic of that type", choices=("tf", "odometry", "pose"))
    topic: str = param("odom", "Odometry or PoseStamped topic; unused with tf")
    child_frame: str = param("", "frame whose pose a PoseStamped gives; empty: the optical frame of the only camera")
    world_frame: str = param("odom", "fixed frame of poses, voxels and rewards")
    still: bool = param(
        False,
        "the cameras stand still wherever only static transforms lead to them: their poses are taken whatever is seen;"
        " false: only as long as what they see stays where it is",
    )
    max_gap: float = param(
        0.5, "longest hole between two transforms that is interpolated across", unit="s", low=0.0, high=10.0
    )
    max_wait: float = param(
        0.2, "how long a frame waits for its pose before it is dropped", unit="s", low=0.0, high=10.0
    )


@dataclass(frozen=True)
class SyncParams:
    """How image and depth become one frame."""

    tolerance: float = param(
        0.02, "largest stamp difference between image and depth of one frame", unit="s", low=0.0, high=1.0
    )
    queue_size: int = param(
        4, "messages and frames a camera may have waiting; the oldest is dropped and counted", low=1, high=1000
    )
    reliability: str = param(
        "best_effort",
        "of subscriptions to images, camera_info and poses; best_effort takes every publisher, reliable asks again for"
        " what is lost, and takes no publisher that is best effort",
        choices=("best_effort", "reliable"),
    )
    stale_after: float = param(
        1.5, "silence of a topic that is warned about", unit="s", low=0.1, high=3600.0, live=True
    )


@dataclass(frozen=True)
class CoverageParams:
    """Streaming space-aware sampling."""

    source: str = param(
        "auto",
        "geometry for coverage: depth images, vggt (RGB alone), or depth where it arrives",
        choices=("auto", "depth", "vggt"),
    )
    frames: int = param(16, "frames kept to cover the scene (k)", low=1, high=256)
    voxel_size: float = param(0.1, "edge of a coverage voxel", unit="m", low=0.001, high=10.0)
    min_depth: float = param(0.2, "nearer readings are ignored", unit="m", low=0.0, high=100.0)
    max_depth: float = param(6.0, "farther readings are ignored", unit="m", low=0.1, high=1000.0)
    stride: int = param(2, "every n-th depth pixel in each direction is used", low=1, high=32)
    max_voxels: int = param(
        262_144,
        "voxels seen are counted exactly up to here, then estimated with a standard error of 0.2 % (16 bytes each)",
        low=1024,
        high=268_435_456,
    )


@dataclass(frozen=True)
class MemoryParams:
    """Recent frames, kept as they arrived."""

    seconds: float = param(30.0, "age at which a recent frame is forgotten", unit="s", low=0.1, high=86400.0)
    megabytes: int = param(512, "most memory for frames of all cameras together", unit="MB", low=1, high=1_000_000)


@dataclass(frozen=True)
class MotionParams:
    """Point tracking and rewards."""

    source: str = param(
        "geometry",
        "who measures motion for rewards: geometry (depth and poses), mllm (the model is asked how far), or both",
        choices=("geometry", "mllm", "both"),
    )
    ask_interval: float = param(
        1.0, "time between two questions to the model about one target", unit="s", low=0.0, high=3600.0
    )

    follow: str = param(
        "", "labels, separated by commas, of detections (<camera>.detections_topic) that become reward targets"
    )
    follow_score: float = param(0.5, "score from which on a detection becomes a target", low=0.0, high=1.0)
    points: int = param(64, "most points tracked in a region", low=8, high=1024)
    forward_backward: float = param(
        1.0, "largest forward-backward error of a tracked point", unit="px", low=0.01, high=20.0
    )
    min_points: int = param(6, "points of one body below which a target is lost", low=3, high=1024)
    rigidity: float = param(
        0.02,
        "change of mutual distance up to which points belong to one body; grows with depth noise",
        unit="m",
        low=0.0005,
        high=1.0,
    )
    deadband: float = param(0.01, "displacement below this adds nothing to path_length", unit="m", low=0.0, high=1.0)
    max_lost: float = param(
        1.0, "a target invisible for longer is given up and must be set again", unit="s", low=0.0, high=3600.0
    )
    max_speed: float = param(
        3.0,
        "a camera or target that is faster from one frame to the next has jumped (a loop, a new localisation), unless"
        " it was so fast before; its reward starts anew",
        unit="m/s",
        low=0.1,
        high=10_000.0,
    )
    max_turn_rate: float = param(
        10.0,
        "a camera that turns faster from one frame to the next has jumped, likewise",
        unit="rad/s",
        low=0.1,
        high=10_000.0,
    )


@dataclass(frozen=True)
class LoadParams:
    """What a model that answers is loaded with, by the node, its process and the command line alike."""

    model: str = param(
        "",
        "folder or hub id (owner/name or owner/name@revision) of the model; empty: nano, which ships with the package,"
        " where torch is installed; none: no model, ask answers MODEL_NOT_READY",
    )
    adapter: str = param(
        "",
        "folder or hub id (owner/name or owner/name@revision) of a LoRA adapter that is put on the model; empty: none",
    )
    device: str = param("auto", "auto (the GPU where there is one), cpu, cuda or cuda:N")
    dtype: str = param(
        "auto",
        "number format of the weights; auto is bfloat16 on a GPU, float32 elsewhere",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    max_tokens: int = param(256, "longest answer, reasoning included", unit="tokens", low=1, high=8192)
    cache_megabytes: int = param(
        2048, "most memory for scenes that are kept encoded, at least the latest", unit="MB", low=0, high=1_000_000
    )
    not_observed: float = param(
        -1.0,
        "NOT_OBSERVED where the probability of 'not visible' is above this; below 0: as the model was calibrated, or"
        " 0.5 where it was not; at 1 only an answer that itself says so",
        low=-1.0,
        high=1.0,
        live=True,
    )
    encoders: str = param(
        "", "folder that spatial-mllm export wrote of this model: its encoders run from there; empty: by torch"
    )
    provider: str = param(
        "auto",
        "what runs exported encoders: tensorrt builds engines where there are none; onnx-tensorrt, cuda and cpu are of"
        " ONNX Runtime; auto is engines that were built here, else cuda where there is one and device is not cpu,"
        " else cpu",
        choices=("auto", "tensorrt", "onnx-tensorrt", "cuda", "cpu"),
    )
    compile: bool = param(False, "compile the encoders and the decoder on a GPU; loads slower, answers faster")

    @property
    def options(self) -> dict[str, Any]:
        """All but which model: keyword arguments of what loads it."""
        return {f.name: getattr(self, f.name) for f in fields(LoadParams) if f.name != "model"}


@dataclass(frozen=True)
class AskParams(LoadParams):
    """Questions, and the model that answers them in a process of its own."""

    max_frames: int = param(
        0,
        "frames shown to the model unless the request says otherwise, never more than it was trained with; 0: as many"
        " as that, or 16 where it does not say",
        low=0,
        high=256,
        live=True,
    )
    timeout: float = param(
        30.0, "time to answer unless the request says otherwise", unit="s", low=0.1, high=3600.0, live=True
    )
    heartbeat_timeout: float = param(
        3.0,
        "silence of the model's process, while none of its threads works either, after which it hangs and is replaced",
        unit="s",
        low=1.0,
        high=3600.0,
    )
    spare: bool = param(
        True,
        "keep a second process with its libraries imported (0.3 GB), which takes the place of the model's where that"
        " ends, and so is ready in seconds",
    )
    waiting: int = param(8, "questions that may wait for their turn; more are answered BUSY", low=1, high=256)
    refresh: float = param(
        0.1,
        "part of the covered voxels that is new since the scene was encoded, at which it is encoded again"
        " in the background; 1 only encodes when asked",
        low=0.01,
        high=1.0,
    )


@dataclass(frozen=True)
class VggtParams:
    """Geometry from colour alone, where ``coverage.source`` is vggt, or auto and a camera has no depth."""

    model: str = param(
        "",
        "folder or hub id (owner/name or owner/name@revision) of a VGGT or Spatial-MLLM checkpoint; empty: that of"
        " ask.model, if named; none: no model",
    )
    window: int = param(16, "frames that go through the model together", low=2, high=128)
    shared: int = param(4, "frames of a window that the next one sees again, to be aligned on", low=1, high=32)
    min_motion: float = param(
        0.02,
        "mean change of the picture, of its full range, below which a frame is not taken into a window",
        low=0.0,
        high=1.0,
    )
    max_residual: float = param(
        0.1,
        "disagreement of a window with the map on their shared frames, of the depth there, beyond which it is refused",
        low=0.001,
        high=1.0,
    )


@dataclass(frozen=True)
class Config:
    """All parameters of the node."""

    cameras: list[str] = param(  # noqa: RUF009, it makes a default_factory
        ["camera"], "names of the cameras; each has its own topics below its name"
    )
    autostart: bool = param(True, "configure and activate at once; false waits for a lifecycle manager")
    bond_heartbeat_period: float = param(
        0.1,
        "heartbeats for nav2's lifecycle manager while active, where autostart is false; 0: none",
        unit="s",
        low=0.0,
        high=2.0,
    )
    status_rate: float = param(
        1.0,
        "coverage, markers and diagnostics are published this often, diagnostics also at once where a camera or a model"
        " fails",
        unit="Hz",
        low=0.1,
        high=30.0,
    )
    pose: PoseParams = field(default_factory=PoseParams)
    sync: SyncParams = field(default_factory=SyncParams)
    coverage: CoverageParams = field(default_factory=CoverageParams)
    memory: MemoryParams = field(default_factory=MemoryParams)
    motion: MotionParams = field(default_factory=MotionParams)
    ask: AskParams = field(default_factory=AskParams)
    vggt: VggtParams = field(default_factory=VggtParams)
    camera_params: dict[str, CameraParams] = field(default_factory=dict)

    @property
    def geometry_model(self) -> str:
        """The model that gives geometry from colour; empty where none is named. What ships has to be named for it."""
        name = self.vggt.model or self.ask.model
        return "" if name == "none" else name

    @property
    def without_geometry(self) -> list[str]:
        """Cameras that neither depth nor a model gives geometry: of their frames none can be selected."""
        if self.geometry_model and self.coverage.source != "depth":
            return []
        return [name for name in self.cameras if not self.camera(name).depth_topic]

    def camera(self, name: str) -> CameraParams:
        """Topics of one camera, defaults where nothing was given."""
        return self.camera_params.get(name, CameraParams())


def describe(cls: type = Config, prefix: str = "") -> dict[str, dict[str, Any]]:
    """Dotted name -> {type, default, doc, unit, low, high, choices, live} of every parameter below a dataclass."""
    out: dict[str, dict[str, Any]] = {}
    for f in fields(cls):
        name = prefix + f.name
        if "doc" in f.metadata:
            default = f.default if f.default is not MISSING else f.default_factory()  # type: ignore[misc]
            out[name] = {"type": type(default), "default": default, **f.metadata}
        elif f.default_factory is not MISSING and is_dataclass(nested := f.default_factory()):
            out.update(describe(type(nested), name + "."))
    return out


def node_parameters(cameras: Sequence[str]) -> dict[str, dict[str, Any]]:
    """:func:`describe` of every parameter of a node with these cameras."""
    known = describe()
    for camera in cameras:
        known |= describe(CameraParams, camera + ".")
    return known


def build(values: dict[str, Any]) -> Config:
    """Config from dotted names and values, as a parameter file gives them.

    Raises:
        ValueError: an unknown name (with the nearest right one), a wrong type, or a value out of range.
    """
    if not isinstance(values, dict):
        raise ValueError(f"parameters are {type(values).__name__}: expected names and values")
    cameras = values.get("cameras", Config().cameras)
    named = isinstance(cameras, list) and all(isinstance(c, str) and c for c in cameras)
    if not named or not cameras or len(set(cameras)) != len(cameras):
        raise ValueError(f"cameras = {cameras!r}: expected a list of distinct names, at least one")
    for camera in cameras:
        if camera in {n.split(".")[0] for n in describe()}:
            raise ValueError(f"cameras = {cameras!r}: '{camera}' is the name of a parameter group; choose another")
    known = node_parameters(cameras)
    checked = {name: check(name, value, find(name, known)) for name, value in values.items()}
    groups: dict[str, dict[str, Any]] = {}
    for name, value in checked.items():
        group, _, leaf = name.rpartition(".")
        groups.setdefault(group, {})[leaf] = value
    nested = {f.name: f.default_factory() for f in fields(Config) if f.default_factory is not MISSING}
    made: dict[str, Any] = dict(groups.pop("", {}))
    made["camera_params"] = {c: CameraParams(**groups.pop(c, {})) for c in cameras}
    for group, leaves in groups.items():
        made[group] = type(nested[group])(**leaves)
    config = Config(**made)
    if config.coverage.min_depth >= config.coverage.max_depth:
        raise ValueError(
            f"coverage.min_depth = {config.coverage.min_depth}: expected less than coverage.max_depth,"
            f" {config.coverage.max_depth} m"
        )
    if config.vggt.shared >= config.vggt.window:
        raise ValueError(
            f"vggt.shared = {config.vggt.shared}: expected less than vggt.window, {config.vggt.window} frames"
        )
    if config.coverage.source == "vggt" and not config.geometry_model:
        raise ValueError("coverage.source = vggt needs a model: set vggt.model or ask.model")
    if config.motion.source != "geometry" and config.ask.model == "none":
        raise ValueError(f"motion.source = {config.motion.source} needs a model, but ask.model is none")
    if config.coverage.source == "depth" and (blind := [c for c in cameras if not config.camera(c).depth_topic]):
        raise ValueError(f"coverage.source = depth, but camera '{blind[0]}' has no depth_topic: give one, or use auto")
    if config.pose.source == "pose" and len(cameras) > 1 and not config.pose.child_frame:
        raise ValueError(
            "pose.source = pose with several cameras: give pose.child_frame, the frame whose poses they are"
        )
    return config


def find(name: str, known: Mapping[str, Any], kind: str = "parameter", where: str = "") -> Any:
    """What is known under a name; ValueError, with the nearest right one, where there is nothing.

    Args:
        kind: of thing that is named, and ``where`` it stands; for what is said.
    """
    if name not in known:
        near = get_close_matches(str(name), known, n=1, cutoff=0.5)
        raise ValueError(f"unknown {kind} '{where}{name}'" + (f"; did you mean '{near[0]}'?" if near else ""))
    return known[name]


def check(name: str, value: Any, p: Mapping[str, Any]) -> Any:
    """One value, as its parameter (see :func:`describe`) has it; ValueError says what would be right."""
    if isinstance(value, int) and abs(value) > WHOLE:
        raise ValueError(f"{name} is a number of {value.bit_length()} bits: expected {p['type'].__name__} within 64")
    if p["type"] is float and type(value) is int:
        value = float(value)
    if type(value) is not p["type"]:
        raise ValueError(f"{name} = {value!r}: expected {p['type'].__name__}, like {p['default']!r}")
    if p["choices"] and value not in p["choices"]:
        raise ValueError(f"{name} = {value!r}: expected one of {', '.join(p['choices'])}")
    if (p["low"] is not None and not value >= p["low"]) or (p["high"] is not None and not value <= p["high"]):
        unit = f" {p['unit']}" if p["unit"] else ""
        raise ValueError(f"{name} = {value}: expected {p['low']} to {p['high']}{unit}")
    return value
