"""The node over DDS: a recording played at its own pace into 1 and 4 cameras, as compressed and as raw images.

Are all frames processed, and how late?

``python -m benchmarks.node [RECORDING]``: by default the kitchen recording beside the checkout, or a simulated room.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from time import monotonic, sleep, time_ns
from typing import Any

from benchmarks.common import Row, recording, resident_mb, show
from spatial_mllm_ros.middleware import make_room_for_images
from spatial_mllm_ros.recordings import Recording
from spatial_mllm_ros.recordings.restamp import restamper

NODE = Path(sys.executable).with_name("spatial_mllm_node")
DOMAIN = os.getpid() % 90 + 11
# Below /camera in the recording, below the camera's name here.
INFO = "color/camera_info"
CAMERA_TOPICS = (INFO, "depth/image_raw/compressed", "color/image_raw/compressed")
ORDER = ["/tf", *(f"/camera/{topic}" for topic in CAMERA_TOPICS)]
PERIOD = 1 / 30  # s between two frames of a camera
WARM_UP = 15  # frames before counting starts
SETTLE = 1.0  # s for the last frames to be processed


class Tape:
    """The messages of a recording as CDR bytes, by frame; stamps are written anew when they are sent.

    Args:
        raw: images are decoded here, and sent as Image.
    """

    def __init__(self, path: Path, raw: bool = False):
        self.raw = raw
        self.static: list[bytes] = []
        by_topic: dict[str, list[tuple[int, bytes]]] = {topic: [] for topic in ORDER}
        with Recording(path) as known:
            self.stamped: dict[str, Any] = {t.name: restamper(t.type, known.types(t)) for t in known.topics.values()}
            for topic, _, recorded in known.messages():
                if topic.name == "/tf_static":
                    self.static.append(bytes(recorded))
                elif topic.name in by_topic:
                    stamps: list[int] = []
                    self.stamped[topic.name](recorded, lambda stamp, found=stamps: found.append(stamp) or stamp)
                    data = raw_image(recorded) if raw and "image_raw" in topic.name else bytes(recorded)
                    by_topic[topic.name].append((stamps[0], data))
        images = by_topic[ORDER[-1]]
        self.offsets = [stamp - images[0][0] for stamp, _ in images]
        same = {topic: dict(messages) for topic, messages in by_topic.items()}
        self.frames = [{topic: same[topic][stamp] for topic in ORDER if stamp in same[topic]} for stamp, _ in images]


def raw_image(compressed: bytes) -> bytes:
    """A CompressedImage as an Image, both as CDR: bgr8 of colour, 16UC1 of depth."""
    import cv2
    import numpy as np
    from rclpy.serialization import deserialize_message, serialize_message
    from sensor_msgs.msg import CompressedImage, Image

    message = deserialize_message(bytes(compressed), CompressedImage)
    pixels = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    height, width, *_ = pixels.shape
    return serialize_message(
        Image(
            header=message.header,
            height=height,
            width=width,
            encoding="16UC1" if pixels.dtype == np.uint16 else "bgr8",
            step=pixels.strides[0],
            data=pixels.tobytes(),
        )
    )


class Player:
    """Runs the node with some parameters, publishes the tape for several cameras at once, and listens to the node.

    Attributes:
        rate: of playing, 1 for the tape's own pace.
        ahead: ns that all stamps are ahead of the clock.
    """

    def __init__(self, tape: Tape, cameras: list[str], *parameters: str):
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.node import Node
        from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
        from sensor_msgs.msg import CameraInfo, CompressedImage, Image
        from spatial_mllm_msgs.msg import CoverageStatus
        from std_srvs.srv import Trigger
        from tf2_msgs.msg import TFMessage

        self.tape, self.cameras = tape, cameras
        self.rate, self.ahead = 1.0, 0
        os.environ |= {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DOMAIN_ID": str(DOMAIN)}
        make_room_for_images()
        transport, kind = ("raw", Image) if tape.raw else ("compressed", CompressedImage)
        transports = [f"{camera}.{what}_transport:={transport}" for camera in cameras for what in ("image", "depth")]
        settings = [part for each in (*transports, "status_rate:=10.0", *parameters) for part in ("-p", each)]
        self.process = subprocess.Popen([NODE, "--ros-args", "--log-level", "error", *settings])
        self.context = Context()
        self.context.init(domain_id=DOMAIN)
        self.node = Node("player", context=self.context)
        self.publishers: dict[str, list[Any]] = {"/tf": [self.node.create_publisher(TFMessage, "/tf", 100)]}
        for topic in CAMERA_TOPICS:
            type_, name = (CameraInfo if topic == INFO else kind), topic.removesuffix("/compressed" if tape.raw else "")
            self.publishers[f"/camera/{topic}"] = [
                self.node.create_publisher(type_, f"/{camera}/{name}", qos_profile_sensor_data) for camera in cameras
            ]
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.static = self.node.create_publisher(TFMessage, "/tf_static", latched)
        self.status: Any = None
        self.diagnostics: dict[str, str] = {}
        self.node.create_subscription(CoverageStatus, "/spatial_mllm/coverage", self._heard_status, 10)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._heard_diagnostics, 10)
        self.reset = self.node.create_client(Trigger, "/spatial_mllm/reset_memory")
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.thread = Thread(target=self.executor.spin, daemon=True)
        self.thread.start()

    def _heard_status(self, msg: Any) -> None:
        self.status = msg

    def _heard_diagnostics(self, msg: Any) -> None:
        self.diagnostics = {value.key: value.value for status in msg.status for value in status.values}

    def ready(self) -> None:
        """Wait until every publisher has its subscription; ends the program where the node has ended."""
        deadline = monotonic() + 60
        every = [p for publishers in self.publishers.values() for p in publishers]
        while not all(p.get_subscription_count() for p in every) or not self.reset.service_is_ready():
            if monotonic() > deadline or self.process.poll() is not None:
                ended = self.process.poll()
                raise SystemExit("the node has ended" if ended else "the node did not subscribe within 60 s")
            sleep(0.05)
        for raw in self.tape.static:
            self.static.publish(raw)

    def play(self, frames: range) -> int:
        """Send these frames at their own pace, one camera after the other as free-running cameras do; images sent."""
        first, start, count = self.tape.offsets[frames[0]], monotonic(), len(self.cameras)
        for i in frames:
            for camera in range(count):
                due = ((self.tape.offsets[i] - first) / 1e9 + camera * PERIOD / count) / self.rate
                sleep(max(0.0, start + due - monotonic()))
                ns = time_ns() + self.ahead
                for topic, raw in self.tape.frames[i].items():
                    now = self.tape.stamped[topic](raw, lambda _, ns=ns: ns)
                    self.publishers[topic][camera if topic != "/tf" else 0].publish(now)
        return len(frames) * count

    def forget(self) -> None:
        from std_srvs.srv import Trigger

        sleep(SETTLE)
        future = self.reset.call_async(Trigger.Request())
        while not future.done():
            sleep(0.01)

    def rows(self, name: str, sent: int) -> Iterator[Row]:
        """What became of the images sent, by the node's own word."""
        seen, said = self.status.frames_seen, self.diagnostics
        counted = seen + self.status.frames_dropped
        reasons = {key: n for key, n in said.items() if key.startswith("dropped: ")} or "none dropped"
        yield Row(f"{name}: frames processed", f"{seen}", f"{sent} sent", f"{seen / sent:.3f}")
        known = f"{sent} sent, {reasons}"
        yield Row(f"{name}: processed or counted as dropped", f"{counted}", known, f"{counted / sent:.3f}")
        half, most = said["frame age p50 (ms)"], said["frame age p95 (ms)"]
        yield Row(f"{name}: frame age", f"p50 {half} ms, p95 {most} ms", "50 ms", f"{float(most) / 50:.2f}")

    def close(self) -> None:
        """Ends the node too, and the program where that fails."""
        self.executor.shutdown()
        self.thread.join()
        self.node.destroy_node()
        self.context.try_shutdown()
        self.process.send_signal(signal.SIGINT)
        if code := self.process.wait(20):
            raise SystemExit(f"the node ended with exit code {code}")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(tape: Tape, count: int) -> Iterator[Row]:
    """Rows for a number of cameras that all show the recording."""
    frames = tape.frames[WARM_UP:]
    cameras = [f"camera{i}" for i in range(count)]
    with closing(Player(tape, cameras, f"cameras:=[{', '.join(cameras)}]", "ask.model:=none")) as player:
        node = player.process.pid
        player.ready()
        player.play(range(WARM_UP))
        player.forget()
        cpu, start = cpu_seconds(node), monotonic()
        sent = player.play(range(WARM_UP, WARM_UP + len(frames)))
        seconds = monotonic() - start
        cpu = (cpu_seconds(node) - cpu) / seconds
        sleep(SETTLE)
        said, memory = player.diagnostics, resident_mb(node)
        kind = "raw" if tape.raw else "compressed"
        name = f"{count} {kind} camera{'s' if count > 1 else ''} at {sent / count / seconds:.1f} Hz"
        yield from player.rows(name, sent)
        busy = said["processing time p50 (ms)"], said["processing time p95 (ms)"]
        yield Row(f"{name}: processing a frame", f"p50 {busy[0]} ms, p95 {busy[1]} ms")
        yield Row(f"{name}: the node's CPU and memory", f"{100 * cpu:.0f} % of a core, {memory:.0f} MB resident")
        moved = count * sum(len(message) for frame in frames for message in frame.values()) / seconds
        yield Row(f"{name}: moved over DDS", f"{moved / 1e6:.0f} MB/s")


def run(path: Path | None = None) -> Iterator[Row]:
    for raw in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            tape = Tape(path or recording(Path(folder)), raw)
        for count in (1, 4):
            yield from measure(tape, count)


if __name__ == "__main__":
    show(run(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
