"""Other ways in: compressed images, poses from Odometry or PoseStamped, RGB alone, simulated time."""

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage
from spatial_mllm_msgs.msg import CoverageStatus, MotionReward
from tf2_msgs.msg import TFMessage

from .process import RELIABLE, polled
from .scene import HEIGHT, LATCHED, STEP, WALL, WIDTH, header, image, info, stamp, transforms

pytestmark = pytest.mark.live
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def simulated(start):
    parameters = {
        "use_sim_time": True,
        "status_rate": 20.0,
        "sync.stale_after": 60.0,
        "cameras": ["cam"],
        "cam.image_transport": "compressed",
        "cam.depth_transport": "compressed",
        "pose.source": "odometry",
        "pose.topic": "wheels",
    }
    return start(parameters)


def compressed(ns, pixels, extension):
    data = cv2.imencode(extension, pixels)[1].tobytes()
    return CompressedImage(header=header(ns), format=extension.strip("."), data=data)


class Packed:
    """A camera that sends JPEG and PNG, on a robot that sends Odometry, on a clock of its own."""

    def __init__(self, robot):
        self.clock = robot.publisher(Clock, "/clock")
        self.static = robot.publisher(TFMessage, "/tf_static", LATCHED)
        self.odometry = robot.publisher(Odometry, "/wheels", RELIABLE)
        self.color = robot.publisher(CompressedImage, "/cam/color/image_raw/compressed")
        self.depth = robot.publisher(CompressedImage, "/cam/depth/image_raw/compressed")
        self.info = robot.publisher(CameraInfo, "/cam/color/camera_info")
        self.static.publish(transforms((0, "base", "camera_optical", 0.5)))
        self.rewards = robot.listen(MotionReward, "/spatial_mllm/motion_reward")
        self.status = robot.listen(CoverageStatus, "/spatial_mllm/coverage")
        self.ns = 0

    def send(self, i, ns):
        self.clock.publish(Clock(clock=stamp(ns + SECOND // 4)))
        odometry = Odometry(header=header(ns, "odom"), child_frame_id="base")
        odometry.pose.pose.position.x = i * STEP
        odometry.pose.pose.orientation.w = 1.0
        self.odometry.publish(odometry)
        self.info.publish(info(ns))
        self.depth.publish(compressed(ns, np.full((HEIGHT, WIDTH), round(WALL * 1000), np.uint16), ".png"))
        self.color.publish(compressed(ns, np.full((HEIGHT, WIDTH, 3), 128, np.uint8), ".jpeg"))

    def processed(self, i, start):
        """Send frame i, each time a little later, until it is processed; its reward."""
        sent = []

        def found():
            sent.append(start + len(sent) * SECOND // 100)
            self.send(i, sent[-1])
            return [r for r in self.rewards if r.header.stamp in [stamp(ns) for ns in sent]]

        return polled(found, "a processed frame")[0]


def test_odometry_compressed_images_and_simulated_time(robot, simulated):
    packed = Packed(robot)
    packed.processed(0, 100 * SECOND)
    reward = packed.processed(8, 110 * SECOND)
    assert reward.distance == pytest.approx(8 * STEP, abs=1e-9)
    fresh = polled(lambda: [s for s in packed.status if s.header.stamp.sec >= 110 and s.frame_age > 0], "age")[-1]
    assert fresh.frame_age == pytest.approx(0.25, abs=0.15)  # on the simulated clock, whatever this machine's load
    assert fresh.voxels_covered > 0

    lines = len(simulated.lines)
    again = packed.processed(3, 50 * SECOND)  # the clock and all stamps jump back by a minute
    assert again.distance == 0
    simulated.says("time jumped back to 50.", after=lines)
    assert packed.processed(5, 60 * SECOND).distance == pytest.approx(2 * STEP, abs=1e-9)
    seen = polled(lambda: [s for s in packed.status if s.header.stamp.sec == 60], "coverage")[-1].frames_seen
    assert seen < 40  # those before the jump are forgotten
    assert simulated.signal() == 0
    assert "Traceback" not in simulated.log


def test_rgb_alone_with_poses(robot, start):
    node = start({"cameras": ["eye"], "eye.depth_topic": "", "pose.source": "pose", "pose.topic": "/tracker"})
    rewards = robot.listen(MotionReward, "/spatial_mllm/motion_reward")
    color = robot.publisher(type(image(0, 0)), "/eye/color/image_raw")
    infos = robot.publisher(CameraInfo, "/eye/color/camera_info")
    poses = robot.publisher(PoseStamped, "/tracker", RELIABLE)
    sent = []

    def send():
        ns = 5 * SECOND + len(sent) * SECOND // 50
        pose = PoseStamped(header=header(ns, "odom"))
        pose.pose.position.z = 0.01 * len(sent)
        pose.pose.orientation.w = 1.0
        infos.publish(info(ns))
        poses.publish(pose)
        color.publish(image(ns, 0))
        sent.append(ns)
        return len([r for r in rewards if r.valid]) > 3

    polled(send, "rewards")
    reward = next(r for r in reversed(rewards) if r.valid)
    travelled = [stamp(ns) for ns in sent]
    steps = travelled.index(reward.header.stamp) - travelled.index(reward.reference_stamp)
    assert reward.distance == pytest.approx(0.01 * steps, abs=1e-9)
    assert node.signal() == 0
    assert "Traceback" not in node.log
