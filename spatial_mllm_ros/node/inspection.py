"""A running node, looked at from outside: its state, who publishes what it needs, transforms and clocks.

It asks what anybody on the network may ask: the graph, the node's services, its ``/diagnostics``, ``/tf`` and one
camera_info of each camera. Nothing is changed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from time import monotonic, sleep, time_ns
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import GetState
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import GetParameters, ListParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo

from ..assembler import FrameAssembler
from ..config import Config, build, is_ours
from ..doctor import Check
from ..errors import bad
from ..geometry.transform_buffer import Reason, TransformError
from ..messages import stamp_ns
from .inputs import Stream, streams
from .watch import qos_name, why_silent

SERVICE = "measure_motion"  # what tells the node from others, whatever its name is
DISCOVERY = 5.0  # s within which a node of this machine or network is known
LISTEN = 3.0  # s of /diagnostics, /tf and camera_info
ANSWER = 5.0  # s for a service
NO_WAY = (Reason.UNKNOWN_FRAME, Reason.NOT_CONNECTED)
APART = 60_000_000_000  # ns between a stamp and the clock from which it is another clock
FIELDS = {
    ParameterType.PARAMETER_BOOL: "bool_value",
    ParameterType.PARAMETER_INTEGER: "integer_value",
    ParameterType.PARAMETER_DOUBLE: "double_value",
    ParameterType.PARAMETER_STRING: "string_value",
    ParameterType.PARAMETER_STRING_ARRAY: "string_array_value",
}


def inspect(name: str = "", listen: float = LISTEN) -> list[Check]:
    """What is right and wrong about a running node and what it is fed with.

    Args:
        name: full name, such as ``/robot1/spatial_mllm``; empty: the only one that runs.
        listen: seconds to listen to its topics.
    Raises:
        SpatialError: BAD_REQUEST where there is no such node, or more than one and no name.
    """
    with _visitor() as me:
        return list(_Inspection(me, _find(me, name)).checks(listen))


@contextmanager
def _visitor() -> Iterator[Node]:
    """A node of ours that spins."""
    context = Context()
    context.init(args=[])
    me = Node("spatial_mllm_doctor", context=context, enable_rosout=False, start_parameter_services=False)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(me)
    thread = Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        yield me
    finally:
        executor.shutdown()
        thread.join()
        me.destroy_node()
        context.try_shutdown()


def _find(me: Node, name: str) -> str:
    """Full name of the node; one that has just started is waited for."""
    deadline, found = monotonic() + DISCOVERY, []
    while not found or monotonic() < deadline - DISCOVERY + 1:  # a second for others beside the first
        services = dict(me.get_service_names_and_types())
        found = sorted(s.removesuffix(f"/{SERVICE}") for s in services if s.endswith(f"/{SERVICE}"))
        configurable = (s.removesuffix("/change_state") for s in services if s.endswith("spatial_mllm/change_state"))
        found = sorted({*found, *configurable})  # unconfigured, it has no services of its own
        found = [n for n in found if not name or n == f"/{name.lstrip('/')}"]
        if monotonic() > deadline:
            break
        sleep(0.1)
    if len(found) != 1:
        there = ", ".join(found) or "none"
        wanted = f"node '{name}'" if name else "one node spatial_mllm"
        raise bad(f"expected {wanted}, found {there}; both sides need the same ROS_DOMAIN_ID (and discovery range)")
    return found[0]


class _Inspection:
    def __init__(self, me: Node, name: str):
        self.me, self.name = me, name
        self.namespace = name.rpartition("/")[0]
        self.statuses: list[DiagnosticStatus] = []
        self.infos: dict[str, CameraInfo] = {}

    def checks(self, listen: float) -> Iterator[Check]:
        state = self._call(GetState, "get_state").current_state.label
        step = "configure, then activate" if state == "unconfigured" else "activate"
        remedy = f"it is {state}: ros2 lifecycle set {self.name} {step}"
        yield Check("node", self.name, state if state == "active" else "", True, remedy)
        config, simulated = self._parameters()
        if config is None:
            yield Check("node", "parameters", "", True, "it has none, for they were wrong when it started: see its log")
            return
        assembler = FrameAssembler(config)
        sources = self._streams(config)
        self._listen(assembler, sources, listen)
        for status in self.statuses:
            part = status.name.rpartition(": ")[2]
            told = status.message if status.level == DiagnosticStatus.OK else ""
            yield Check("what it says of itself", part, told, True, status.message)
        for stream in sources:
            yield self._topic(stream, config)
        yield from self._transforms(config, assembler)
        yield from self._clock(simulated)

    def _call(self, type_: Any, service: str, **fields: Any) -> Any:
        client = self.me.create_client(type_, f"{self.name}/{service}")
        if not client.wait_for_service(ANSWER):
            raise bad(f"{self.name} has no service {service}: is it a spatial_mllm node?")
        future = client.call_async(type_.Request(**fields))
        deadline = monotonic() + ANSWER
        while not future.done():
            if monotonic() > deadline:
                raise bad(f"{self.name}/{service} has not answered within {ANSWER:g} s: the node hangs")
            sleep(0.01)
        return future.result()

    def _parameters(self) -> tuple[Config | None, bool]:
        names = self._call(ListParameters, "list_parameters").result.names
        answers = self._call(GetParameters, "get_parameters", names=names).values
        values = {n: _value(v) for n, v in zip(names, answers, strict=True)}
        own = {n: v for n, v in values.items() if is_ours(n)}
        return (build(own) if own else None), bool(values.get("use_sim_time"))

    def _streams(self, config: Config) -> list[Stream]:
        """What it subscribes to, by the names that this has in the graph: it may be remapped."""
        found = streams(config)
        for stream in found:
            if stream.topic.startswith("~"):
                stream.topic = self.name + stream.topic[1:]
            elif not stream.topic.startswith("/"):
                stream.topic = f"{self.namespace}/{stream.topic}"
        return found

    def _listen(self, assembler: FrameAssembler, sources: list[Stream], seconds: float) -> None:
        own = self.name.lstrip("/")

        def heard(array: DiagnosticArray) -> None:
            if statuses := [s for s in array.status if s.name.startswith(f"{own}: ")]:
                self.statuses = statuses
                for stream in sources:  # the node knows how its topics are remapped
                    for status in statuses:
                        if status.name == f"{own}: camera {stream.camera}":
                            told = {v.key: v.value for v in status.values}
                            stream.topic = told.get(f"{stream.kind} topic", stream.topic)

        self.me.create_subscription(DiagnosticArray, "/diagnostics", heard, 10)
        for stream in sources:
            if stream.kind == "camera_info":

                def know(info: CameraInfo, camera: str = stream.camera) -> None:
                    self.infos[camera] = info

                self.me.create_subscription(CameraInfo, stream.topic, know, qos_profile_sensor_data)
            elif not stream.camera:
                feed = assembler.feeder(stream.kind)
                self.me.create_subscription(stream.type, stream.topic, lambda msg, feed=feed: feed(msg, 0), stream.qos)
        sleep(seconds)
        for camera, info in self.infos.items():
            assembler.add_info(camera, info)

    def _topic(self, stream: Stream, config: Config) -> Check:
        name = f"{stream.camera} {stream.kind} {stream.topic}".strip()
        publishers = self.me.get_publishers_info_by_topic(stream.topic)
        needed = stream.is_info or stream.kind in ("image", "depth") or stream.kind == config.pose.source
        optional = stream.kind == "tf_static" or (stream.kind == "tf" and config.pose.source != "tf")
        if not publishers and optional:
            return Check("topics", name, "nobody publishes, and nobody has to")
        why = why_silent(self.me, stream)
        if why.endswith("but they are silent"):  # right, as far as the graph shows; whether they speak is measured
            rate = self._said(stream, "rate (Hz)")
            if rate != "0.0" or stream.is_info:
                by = ", ".join(sorted({f"{p.node_namespace.rstrip('/')}/{p.node_name}" for p in publishers}))
                qos = ", ".join(sorted({qos_name(p.qos_profile) for p in publishers}))
                return Check("topics", name, f"by {by} ({qos})" + (f", {rate} Hz" if rate else ""))
        return Check("topics", name, "", needed, why)

    def _said(self, stream: Stream, what: str) -> str:
        """What the node says of one of its camera's topics."""
        for status in self.statuses:
            if status.name.endswith(f": camera {stream.camera}"):
                return {v.key: v.value for v in status.values}.get(f"{stream.kind} {what}", "")
        return ""

    def _transforms(self, config: Config, assembler: FrameAssembler) -> Iterator[Check]:
        world = config.pose.world_frame.lstrip("/")
        for camera in config.cameras:
            name = f"{camera} in {world}"
            if (info := self.infos.get(camera)) is None:
                yield Check("poses", name, "", False, "no camera_info was heard, so its optical frame is not known")
                continue
            optical = info.header.frame_id.lstrip("/")
            try:
                assembler.transforms.lookup(world, optical, stamp_ns(info.header.stamp))
            except TransformError as error:
                if error.reason not in NO_WAY:  # connected; how late transforms are, the node says of itself
                    yield Check("poses", name, f"'{world}' from '{optical}' is known")
                    continue
                told = f"no pose of '{optical}' (camera_info) in '{world}' (pose.world_frame): {error}"
                yield Check("poses", name, "", config.coverage.source != "vggt", told)
            else:
                yield Check("poses", name, f"'{world}' from '{optical}' is known")

    def _clock(self, simulated: bool) -> Iterator[Check]:
        publishers = self.me.count_publishers("/clock")
        remedy = "use_sim_time is true, but nobody publishes /clock: play --clock does, or set it to false"
        if simulated:
            yield Check("clock", "/clock", f"{publishers} publisher(s)" if publishers else "", True, remedy)
            return
        for camera, info in self.infos.items():
            age = time_ns() - stamp_ns(info.header.stamp)
            told = "of this machine's clock" if abs(age) < APART else ""
            remedy = f"{age / 1e9:.0f} s behind this machine's clock: use_sim_time with /clock, or play --restamp"
            yield Check("clock", f"stamps of {camera}", told, False, remedy)


def _value(value: Any) -> Any:
    found = getattr(value, FIELDS[value.type]) if value.type in FIELDS else None
    return list(found or ()) if value.type == ParameterType.PARAMETER_STRING_ARRAY else found
