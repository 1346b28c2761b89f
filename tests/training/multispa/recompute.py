"""Answers worked out anew from a bag's raw depth images and transforms; shares nothing with what made the records."""

import json
from functools import cached_property

import cv2
import numpy as np
from rosbags.highlevel import AnyReader

DEPTH, INFO = "/camera/depth/image_raw/compressed", "/camera/depth/camera_info"


class RawRecording:
    """Depth images as PNG bytes and odom -> base_link transforms of one camera, by stamp in nanoseconds."""

    def __init__(self, path):
        self.pngs, moves = {}, {}
        with AnyReader([path]) as reader:
            for connection, _, raw in reader.messages():
                message = reader.deserialize(raw, connection.msgtype)
                if connection.topic == DEPTH:
                    self.pngs[stamp_of(message)] = message.data.copy()
                elif connection.topic == INFO:
                    assert not message.d.any()
                    self.fx, _, self.cx, _, self.fy, self.cy = message.k[:6]
                elif connection.topic in ("/tf", "/tf_static"):
                    for each in message.transforms:
                        link = (each.header.frame_id, each.child_frame_id)
                        moves.setdefault(link, []).append((stamp_of(each), *parts(each.transform)))
        ((_, q, t),) = moves["base_link", "camera_color_optical_frame"]
        self.mount = matrix(q, t)
        self.times, self.turns, self.places = zip(*sorted(moves["odom", "base_link"], key=lambda move: move[0]))

    def depth(self, stamp):
        """uint16 [H, W] millimetres."""
        return cv2.imdecode(self.pngs[stamp], cv2.IMREAD_UNCHANGED)

    def pose(self, stamp):
        """odom_from_camera, between the two transforms around a stamp."""
        after = int(np.searchsorted(self.times, stamp))
        before = after if self.times[after] == stamp else after - 1
        part = 0.0 if before == after else (stamp - self.times[before]) / (self.times[after] - self.times[before])
        place = (1 - part) * self.places[before] + part * self.places[after]
        return matrix(slerp(self.turns[before], self.turns[after], part), place) @ self.mount

    def relative(self, stamps):
        """first_from_second."""
        return np.linalg.inv(self.pose(stamps[0])) @ self.pose(stamps[1])

    def seen_at(self, pixel, stamps):
        """Where a pixel of the first image is in the second, (u, v), and whether it is seen there."""
        u, v = pixel
        z = self.depth(stamps[0])[v, u] / 1000
        assert z > 0
        ray = np.array([(u - self.cx) / self.fx, (v - self.cy) / self.fy, 1, 1 / z])
        x, y, far = (np.linalg.inv(self.relative(stamps)) @ (ray * z))[:3]
        if far <= 0:
            return None, False
        u, v = self.fx * x / far + self.cx, self.fy * y / far + self.cy
        depth = self.depth(stamps[1])
        row, column = round(v), round(u)
        if not (0 <= row < depth.shape[0] and 0 <= column < depth.shape[1]) or not depth[row, column]:
            return (u, v), False
        return (u, v), abs(depth[row, column] / 1000 - far) <= max(0.02, 0.03 * far)

    @cached_property
    def surface(self):
        """A point for each 50 mm that some of the images show, [N, 3] metres in odom."""
        points = []
        for stamp in sorted(self.pngs)[::5]:
            depth = self.depth(stamp)[::8, ::8] / 1000
            v, u = 8 * np.mgrid[0 : depth.shape[0], 0 : depth.shape[1]]
            x, y = (u - self.cx) / self.fx * depth, (v - self.cy) / self.fy * depth
            local = np.stack([x, y, depth, np.ones(depth.shape)], axis=-1)[depth > 0]
            points.append((local @ self.pose(stamp).T)[:, :3])
        points = np.concatenate(points)
        return points[np.unique(np.floor(points / 0.05), axis=0, return_index=True)[1]]

    def overlap(self, stamps):
        """Points of the surface that both images show by those that either does, in percent."""
        seen = []
        for stamp in stamps:
            to_camera, depth = np.linalg.inv(self.pose(stamp)), self.depth(stamp) / 1000
            x, y, z = (self.surface @ to_camera[:3, :3].T + to_camera[:3, 3]).T
            column, row = np.rint(self.fx * x / z + self.cx), np.rint(self.fy * y / z + self.cy)
            inside = (z > 0) & (column >= 0) & (column < depth.shape[1]) & (row >= 0) & (row < depth.shape[0])
            there = np.zeros(len(z))
            there[inside] = depth[row[inside].astype(int), column[inside].astype(int)]
            seen.append((there > 0) & (np.abs(there - z) <= np.maximum(0.02, 0.03 * there)))
        return 100 * (seen[0] & seen[1]).sum() / (seen[0] | seen[1]).sum()


def answer(recording, record):
    """What is true of a record, from its question type, stamps and pixels; numbers before rounding."""
    kind, meta = record["question_type"], record["meta"]
    stamps, pixels = meta["stamps_ns"], meta["pixels"]
    if kind.startswith("depth_"):
        depths = [int(recording.depth(stamps[0])[v, u]) for u, v in pixels]
        assert all(depths)
        return float(depths[0]) if kind.startswith("depth_estimation") else "AB"[depths[0] > depths[1]]
    if kind.startswith("camera_"):
        return camera_answer(kind.removeprefix("camera_"), recording.relative(stamps))
    place, seen = recording.seen_at(pixels[0], stamps)
    if kind == "not_observed":
        return "observed" if seen else "not observed"
    assert seen, "the question cannot be answered"
    if kind == "correspondence_choice":
        return "ABCD"[int(np.argmin([np.hypot(*np.subtract(pixel, place)) for pixel in pixels[1:]]))]
    width, height = meta["image_size"]
    return np.array([1000 * round(place[0]) // width, 1000 * round(place[1]) // height])


def camera_answer(kind, first_from_second):
    right, down, forward = 1000 * first_from_second[:3, 3]
    x, y, z = first_from_second[:3, 2]
    yaw, pitch = np.degrees(np.arctan2(x, z)), np.degrees(np.arctan2(-y, np.hypot(x, z)))
    match kind:
        case "left_right":
            return "right" if right > 0 else "left"
        case "up_down":
            return "down" if down > 0 else "up"
        case "forward_back":
            return "forward" if forward > 0 else "backward"
        case "yaw_direction":
            return "right" if yaw > 0 else "left"
        case "pitch_direction":
            return "up" if pitch > 0 else "down"
        case "yaw_degrees":
            return abs(yaw)
        case "pitch_degrees":
            return abs(pitch)
        case "distance":
            return np.sqrt(right**2 + down**2 + forward**2)
        case "vector":
            return np.array([right, down, forward])


def agrees(found, written):
    """Whether a written answer is what was found, rounded to whole numbers."""
    if isinstance(found, str):
        return found == written
    written = json.loads(written) if isinstance(written, str) else written
    return bool(np.abs(np.subtract(found, written)).max() <= 0.5 + 1e-6)


def stamp_of(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def parts(transform):
    q, t = transform.rotation, transform.translation
    return np.array([q.w, q.x, q.y, q.z]), np.array([t.x, t.y, t.z])


def matrix(q, t):
    """4x4 of a quaternion (w first) and a translation."""
    w, (x, y, z) = q[0] / np.linalg.norm(q), q[1:] / np.linalg.norm(q)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    out = np.eye(4)
    out[:3, :3] += 2 * w * cross + 2 * cross @ cross
    out[:3, 3] = t
    return out


def slerp(a, b, part):
    """Between two unit quaternions, the short way."""
    b = b if a @ b >= 0 else -b
    angle = np.arccos(min(a @ b, 1.0))
    return a if angle < 1e-9 else (np.sin((1 - part) * angle) * a + np.sin(part * angle) * b) / np.sin(angle)
