"""Small scenes whose geometry is exact: a room of planes, and bodies of points that move rigidly."""

import numpy as np
from scipy.spatial.transform import Rotation

from spatial_mllm_ros.geometry.cameras import project
from spatial_mllm_ros.geometry.poses import inverse, transform
from spatial_mllm_training.multispa.scene import Scene, Tracks

from ..geometry.room import frames_of, walk

UP = np.array([0.0, 0.0, 1.0])


def room_scene(count=24, name="room", **kinds):
    """``count`` frames of a walk through an exact room, 56 x 42 pixels, with depth and poses."""
    frames = frames_of(walk(count), depth=True, **kinds)
    lacks = {"things": "a plain room", "tracks": "a plain room"}
    return Scene(name, "test", frames, key=name, lacks=lacks, world_up=UP)


def body_tracks(bodies=3, frames=12, points=12, still=20, seed=0, noise=0.0, far=0.4):
    """Points of rigid bodies that turn and move ``far`` metres each, among still ones, before a still camera."""
    random = np.random.default_rng(seed)
    parts, owner = [np.repeat(random.uniform([-2, -1, 2], [2, 1, 4], (still, 3))[None], frames, 0)], [-1] * still
    for body in range(bodies):
        centre = random.uniform([-1.5, -0.8, 2], [1.5, 0.8, 3.5])
        shape = random.uniform(-0.15, 0.15, (points, 3))
        way, axis = random.normal(size=3), random.normal(size=3)
        way *= far / np.linalg.norm(way)
        steps = np.linspace(0, 1, frames)
        turns = Rotation.from_rotvec(steps[:, None] * axis * 0.8 / np.linalg.norm(axis)).as_matrix()
        parts.append(centre + steps[:, None, None] * way + shape @ turns.transpose(0, 2, 1))
        owner += [body] * points
    world = np.concatenate(parts, axis=1)
    return world + noise * random.normal(size=world.shape), np.array(owner)


def moving_scene(bodies=3, count=12, name="moving", **kinds):
    """The room, and tracks of bodies in front of its cameras; not in its images."""
    scene = room_scene(count, name)
    points, owner = body_tracks(bodies, count, **kinds)
    points = transform(scene.frames[0].world_from_camera, points.reshape(-1, 3)).reshape(points.shape)
    pixels, visible = np.empty((*points.shape[:2], 2)), np.empty(points.shape[:2], bool)
    for i, frame in enumerate(scene.frames):
        pixels[i], visible[i] = project(frame.camera, transform(inverse(frame.world_from_camera), points[i]))
    tracks = Tracks(points, visible, pixels, owner)
    lacks = {"things": "only points"}
    return Scene(name, "test", scene.frames, key=name, tracks=lambda: tracks, lacks=lacks, world_up=UP)
