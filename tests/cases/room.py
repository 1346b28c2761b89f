"""A bare room seen by a camera that goes round in it, and what is right for a recording of that, worked out here.

Every case differs from :func:`recording` in one thing. World z is up; frames are ``odom``, ``base_link`` (x forward)
and ``optical``; the room's walls are chequered.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from tests.recordings.recordings import T, header, image, vector

ROOM = np.array([[-0.37, -0.29, -0.03], [4.63, 3.71, 2.58]])  # its lowest and its highest corner, metres
START, STEP = 1_760_000_000_000_000_000, 100_000_000  # ns
SIZE, INTRINSICS = (160, 120), (140.0, 140.0, 79.5, 59.5)  # pixels; fx, fy, cx, cy
FRAMES = 30
OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # rotation of the optical frame in base_link
COLOR, DEPTH = "/camera/color/image_raw", "/camera/aligned_depth_to_color/image_raw"
INFO = "/camera/color/camera_info"


def pose(rotation=None, translation=(0, 0, 0)):
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3) if rotation is None else rotation
    matrix[:3, 3] = translation
    return matrix


MOUNT = pose(OPTICAL, (0.1, 0.02, 0.3))  # base_link from optical


def base_pose(i):
    """odom from base_link at frame i."""
    turned = Rotation.from_euler("z", 0.45 + 0.028 * i).as_matrix()
    return pose(turned, (0.9 + 0.031 * i, 0.8 + 0.019 * i, 0.75))


def camera_pose(i):
    """odom from optical at frame i."""
    return base_pose(i) @ MOUNT


def rays(intrinsics=INTRINSICS, size=SIZE):
    """Viewing ray of each pixel, z = 1: [H, W, 3]."""
    fx, fy, cx, cy = intrinsics
    v, u = np.mgrid[: size[1], : size[0]]
    return np.stack([(u - cx) / fx, (v - cy) / fy, np.ones(u.shape)], axis=-1)


def see(world_from_camera, seen=None):
    """Depth along the optical axis [H, W] metres and picture uint8 [H, W, 3], along rays with z = 1."""
    seen = rays() if seen is None else seen
    way, eye = seen @ world_from_camera[:3, :3].T, world_from_camera[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        until = np.where(way > 0, ROOM[1] - eye, ROOM[0] - eye) / way
    until = np.where(np.isfinite(until), until, np.inf)
    depth, axis = until.min(axis=-1), until.argmin(axis=-1)
    place = eye + way * depth[..., None]
    dark = np.floor(place / 0.23 + 1e-6).sum(axis=-1) % 2
    tint = np.array([[210, 120, 60], [70, 190, 110], [90, 100, 200]])[axis]
    return depth, (tint * (0.55 + 0.45 * dark[..., None])).astype(np.uint8)


def millimetres(depth):
    return np.clip(np.round(1000 * depth), 0, 65535).astype(np.uint16)


def voxels(seen, edge=0.1, stride=2, near=0.2, far=6.0):
    """How many voxels all of (depth, rays, world_from_camera) see, by brute force, with the default parameters."""
    found = set()
    for depth, along, world_from_camera in seen:
        for z, ray in zip(depth[::stride, ::stride].ravel(), along[::stride, ::stride].reshape(-1, 3), strict=True):
            if near <= z <= far:
                place = world_from_camera[:3, :3] @ (ray * z) + world_from_camera[:3, 3]
                found.add(tuple(np.floor(place / edge).astype(int)))
    return len(found)


def right_voxels(frames=FRAMES, of_depth=lambda depth: millimetres(depth) / 1000):
    """Voxels of :func:`recording`."""
    return voxels([(of_depth(see(camera_pose(i))[0]), rays(), camera_pose(i)) for i in range(frames)])


def way(frames=FRAMES):
    """How far the camera is at the end from where it was, metres."""
    return float(np.linalg.norm(camera_pose(frames - 1)[:3, 3] - camera_pose(0)[:3, 3]))


def quaternion(matrix):
    """x, y, z, w of a pose's rotation."""
    return tuple(map(float, Rotation.from_matrix(matrix[:3, :3]).as_quat()))


def transforms(*links):
    """TFMessage of (stamp, parent, child, matrix)."""
    stamped = []
    for ns, parent, child, matrix in links:
        x, y, z, w = quaternion(matrix)
        transform = T["geometry_msgs/msg/Transform"](
            translation=vector(*map(float, matrix[:3, 3])),
            rotation=T["geometry_msgs/msg/Quaternion"](x=x, y=y, z=z, w=w),
        )
        stamped.append(T["geometry_msgs/msg/TransformStamped"](header(ns, parent), child, transform))
    return T["tf2_msgs/msg/TFMessage"](transforms=stamped)


def info(ns, intrinsics=INTRINSICS, size=SIZE, model="plumb_bob", d=(0.0,) * 5, frame="optical", **fields):
    """CameraInfo; ``fields`` replaces single ones of the message, as ``p`` or ``binning_x``."""
    fx, fy, cx, cy = intrinsics
    values = {
        "height": size[1],
        "width": size[0],
        "distortion_model": model,
        "d": np.array(d, float),
        "k": np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1.0]),
        "r": np.eye(3).ravel(),
        "p": np.array([fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1.0, 0]),
        "binning_x": 0,
        "binning_y": 0,
        "roi": T["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
    }
    return T["sensor_msgs/msg/CameraInfo"](header(ns, frame), **(values | fields))


def recording(
    frames=FRAMES,
    color=lambda ns, picture: image(ns, picture, "rgb8"),
    depth=lambda ns, depth: image(ns, millimetres(depth), "16UC1"),
    camera_info=info,
    moves=True,
    static=True,
    topics=(COLOR, DEPTH, INFO),
    seen_from=camera_pose,
):
    """(topic, stamp, message) in order of time; what makes a message may be replaced, and returns None for none.

    Args:
        moves: there is /tf from odom to base_link. static: there is /tf_static from there to the camera.
        topics: of colour, depth and camera_info. seen_from: odom from optical at frame i.
    """
    out = [("/tf_static", START, transforms((START, "base_link", "optical", MOUNT)))] if static else []
    for i in range(frames):
        ns = START + i * STEP
        if moves:
            out.append(("/tf", ns, transforms((ns, "odom", "base_link", base_pose(i)))))
        metres, picture = see(seen_from(i))
        made = color(ns, picture), depth(ns, metres), camera_info(ns)
        out += [(topic, ns, message) for topic, message in zip(topics, made, strict=True) if message is not None]
    return out
