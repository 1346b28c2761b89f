"""A recording of an arm, known in closed form: two cameras, depth, joints, commands, a task and rewards."""

from math import cos, pi, sin
from pathlib import Path

import cv2
import numpy as np

from spatial_mllm_ros.recordings import BagWriter
from spatial_mllm_ros.recordings.types import REWARD, typestore

from ..recordings.recordings import START, T, header, image, time, vector

SIZE = (64, 48)
NAMES = ("shoulder", "elbow", "wrist")
JOINTS, COMMANDS, TASK, MARK = "/joint_states", "/joint_commands", "/task", "/recording"
FRONT, WRIST, DEPTH = "/front/image_raw", "/wrist/image_raw", "/front/depth/image_raw"
REWARDS = "/spatial_mllm/motion_reward"
MS = 1_000_000
GROWTH = 0.002  # m a frame of the rewards


def at(seconds):
    return START + round(seconds * 1e9)


def angles(ns):
    """Of the joints at a time, rad."""
    t = (ns - START) / 1e9
    return [sin(2 * t), cos(1.5 * t), 0.3 * t]


def joint_state(ns, positions, names=NAMES):
    return T["sensor_msgs/msg/JointState"](
        header(ns, ""), list(names), np.array(positions, float), np.zeros(0), np.zeros(0)
    )


def text(said):
    return T["std_msgs/msg/String"](said)


def flag(on):
    return T["std_msgs/msg/Bool"](on)


def picture(seed, number, size=SIZE):
    """RGB, smooth, and another one for each camera and number."""
    width, height = size
    noise = cv2.resize(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8), (3 * width, height))
    return np.ascontiguousarray(np.roll(noise, 5 * number, 1)[:, :width])


def depth_image(number):
    """Millimetres."""
    rows = 800 + 10 * np.arange(SIZE[1])[:, None] + 5 * np.arange(SIZE[0]) + number
    return rows.astype(np.uint16)


def reward(ns, gained, valid=True, target="camera", distance=0.0, source="geometry", **more):
    t = typestore().types
    return t[REWARD](
        header=t["std_msgs/msg/Header"](time(ns), "odom"),
        target=target,
        reference_stamp=time(START),
        valid=valid,
        distance=distance,
        path_length=distance,
        displacement=vector(distance, 0.0, 0.0),
        reward=gained,
        confidence=1.0 if valid else 0.0,
        source=source,
        **more,
    )


def messages(seconds=2.0, fps=20, joints=50, stopped=(9.0, 9.0), cameras=(FRONT, WRIST), broken=()):
    """(topic, stamp, message) in order of time: images at ``fps``, joints faster.

    Args:
        stopped: seconds between which the wrist camera sends nothing. broken: numbers of its images that are.
    """
    out = [(TASK, at(0), text("push the mug"))]
    for i in range(round(seconds * fps)):
        ns = at(i / fps)
        for seed, topic in enumerate(cameras):
            pixels = picture(seed, i)
            if topic == WRIST and stopped[0] <= i / fps < stopped[1]:
                continue
            sent = image(ns, pixels, "rgb8")
            if topic == WRIST and i in broken:
                sent.data = sent.data[:-1]
            out.append((topic, ns, sent))
        out.append((DEPTH, ns, image(ns, depth_image(i), "16UC1")))
        out.append((REWARDS, ns, reward(ns, GROWTH if i else 0.0, distance=GROWTH * i)))
    for i in range(round(seconds * joints)):
        ns = at(i / joints)
        out.append((JOINTS, ns, joint_state(ns, angles(ns))))
        out.append((COMMANDS, ns, joint_state(ns, [a + 0.1 * sin(2 * pi * (ns - START) / 1e9) for a in angles(ns)])))
    return sorted(out, key=lambda m: m[1])


def write(path: Path, sent) -> Path:
    """The recording at ``path``, an .mcap file."""
    with BagWriter(path) as bag:
        for topic, ns, message in sent:
            bag.write(topic, message, ns)
    return path
