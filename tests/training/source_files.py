"""The exact room written as every kind of source that people have: folders, bags and archives of a few frames."""

from pathlib import Path

import cv2
import numpy as np

from spatial_mllm_ros.geometry.poses import inverse, quaternion_xyzw, transform
from spatial_mllm_ros.recordings import BagWriter
from spatial_mllm_ros.simulation.messages import Messages

from ..geometry.room import CAMERAS, HEIGHT, START_NS, STEP_NS, WIDTH, K, depth_of, walk
from ..recordings.recordings import image

CAMERA = CAMERAS["front"]


def readings(pose, unit):
    """Depth as a sensor stores it, uint16 [HEIGHT, WIDTH] in units of ``unit`` metres; one pixel has no reading."""
    raw = np.round(depth_of(pose) / unit).astype(np.uint16)
    raw[3, 5] = 0
    return raw


def picture(number, scale=1):
    """Smooth and different in every frame, uint8 RGB."""
    v, u = np.mgrid[0 : HEIGHT * scale, 0 : WIDTH * scale] / scale
    return np.stack([u * 4, v * 5, np.full_like(u, 7 * number % 256)], axis=-1).astype(np.uint8)


def write_image(path: Path, rgb):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb if rgb.ndim == 2 else cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))


def matrix_text(matrix, form="%.17g"):
    return "\n".join(" ".join(form % value for value in row) for row in matrix) + "\n"


def write_text(path: Path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def homogeneous(k):
    out = np.eye(4)
    out[:3, :3] = k
    return out


def write_scannet(folder: Path, count=6, scale=1):
    """Returns (poses, raw depths); colour is ``scale`` times the size of depth."""
    poses = walk(count)
    raw = [readings(pose, 0.001) for pose in poses]
    for i, pose in enumerate(poses):
        write_image(folder / f"color/{i * 10}.jpg", picture(i, scale))
        write_image(folder / f"depth/{i * 10}.png", raw[i])
        write_text(folder / f"pose/{i * 10}.txt", matrix_text(pose))
    color = K * [[scale], [scale], [1]] + np.array([[0, 0, (scale - 1) / 2], [0, 0, (scale - 1) / 2], [0, 0, 0]])
    write_text(folder / "intrinsic/intrinsic_color.txt", matrix_text(homogeneous(color)))
    write_text(folder / "intrinsic/intrinsic_depth.txt", matrix_text(homogeneous(K)))
    return poses, raw


def write_seven_scenes(folder: Path, count=6):
    poses = walk(count)
    raw = [readings(pose, 0.001) for pose in poses]
    for i, pose in enumerate(poses):
        stored = np.where(raw[i] == 0, 65535, raw[i]).astype(np.uint16)
        write_image(folder / f"frame-{i:06d}.color.png", picture(i))
        write_image(folder / f"frame-{i:06d}.depth.png", stored)
        write_text(folder / f"frame-{i:06d}.pose.txt", matrix_text(pose))
    write_text(folder / "camera.txt", "40 40 27.5 20.5\n")
    return poses, raw


def write_tum(folder: Path, count=6, depth_late=5_000_000, quaternions=None):
    """Depth is ``depth_late`` ns behind its colour; poses at the times of colour, and one long before and after."""
    poses = walk(count)
    raw = [readings(pose, 1 / 5000) for pose in poses]
    lists = {"rgb": ["# time file"], "depth": ["# time file"], "groundtruth": ["# time tx ty tz qx qy qz qw"]}
    stamps = [1_305_031_102_175_304_000 + i * 33_333_000 for i in range(count)]
    for i, (stamp, pose) in enumerate(zip(stamps, poses)):
        for kind, pixels, time in (("rgb", picture(i), stamp), ("depth", raw[i], stamp + depth_late)):
            text = f"{time // 10**9}.{time % 10**9 // 1000:06d}"
            write_image(folder / f"{kind}/{text}.png", pixels)
            lists[kind].append(f"{text} {kind}/{text}.png")
        turn = quaternion_xyzw(pose) if quaternions is None else quaternions[i]
        values = " ".join(f"{value:.17g}" for value in (*pose[:3, 3], *turn))
        lists["groundtruth"].append(f"{stamp // 10**9}.{stamp % 10**9 // 1000:06d} {values}")
    for name, lines in lists.items():
        write_text(folder / f"{name}.txt", "\n".join(lines) + "\n")
    write_text(folder / "intrinsics.txt", "40 40 27.5 20.5")
    return poses, raw, stamps


def tapvid3d_arrays(count=6, points=20, extrinsics=True):
    """Arrays of a video of the room and the points in the world that they came from, [T, P, 3]."""
    poses, random = walk(count), np.random.default_rng(3)
    world = np.repeat(random.uniform([-2, -2, 0.2], [2, 2, 2.5], (points, 3))[None], count, axis=0)
    world[:, :5] += np.linspace(0, 0.4, count)[:, None, None]
    arrays = {
        "images_jpeg_bytes": np.array([cv2.imencode(".jpg", picture(i)[..., ::-1])[1].tobytes() for i in range(count)]),
        "tracks_XYZ": np.stack([transform(inverse(pose), at) for pose, at in zip(poses, world)]),
        "visibility": random.random((count, points)) < 0.8,
        "fx_fy_cx_cy": np.array([40.0, 40.0, 28.0, 21.0]),  # from the corner: the middle of 56x42
        "queries_xyt": np.zeros((points, 3)),
    }
    if extrinsics:
        arrays["extrinsics_w2c"] = np.stack([inverse(pose) for pose in poses])
    return arrays, poses, world


def write_bag(path: Path, count=6, *, depth=True, posed=True, color_scale=1, depth_shape=(HEIGHT, WIDTH)):
    """A recording of the room; returns (poses, raw depths). A number for ``posed`` spoils its quaternions by that."""
    poses, build = walk(count), Messages()
    raw = [readings(pose, 0.001) for pose in poses]
    path.parent.mkdir(parents=True, exist_ok=True)
    seen = CAMERA.resized(WIDTH * color_scale, HEIGHT * color_scale)
    with BagWriter(path) as bag:
        for i, pose in enumerate(poses):
            stamp = START_NS + i * STEP_NS
            if posed:
                moved = build.transforms(stamp, [("odom", CAMERA.frame_id, pose)])
                moved.transforms[0].transform.rotation.w *= 1 if posed is True else posed
                bag.write("/tf", moved, stamp)
            bag.write("/front/color/camera_info", build.camera_info(stamp, seen), stamp)
            bag.write("/front/color/image_raw", image(stamp, picture(i, color_scale), "rgb8", CAMERA.frame_id), stamp)
            if depth:
                small = cv2.resize(raw[i], depth_shape[::-1], interpolation=cv2.INTER_NEAREST)
                bag.write("/front/depth/image_raw", image(stamp, small, "16UC1", CAMERA.frame_id), stamp)
    return poses, raw
