"""Rendered views against closed-form geometry, each other, and what a feature tracker needs."""

import cv2
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from spatial_mllm_ros.simulation import make_room


def world_rays(camera, world_from_camera):
    """Origin [3] and directions [H, W, 3] whose multiples by depth reach the points; from K alone."""
    v, u = np.mgrid[0 : camera.height, 0 : camera.width]
    k = camera.intrinsics
    rays = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones(u.shape)], axis=2)
    return world_from_camera[:3, 3], rays @ world_from_camera[:3, :3].T


def points_of(view):
    origin, directions = world_rays(view.frame.camera, view.frame.world_from_camera)
    return origin + directions * view.exact_depth[..., None].astype(float)


def test_walls_floor_and_ceiling_are_where_their_planes_are(room, views):
    half = room.layout.size / [2, 2, 1]
    for view in views[::4]:
        origin, directions = world_rays(view.frame.camera, view.frame.world_from_camera)
        with np.errstate(divide="ignore"):
            far = np.where(directions > 0, half - origin, [-half[0], -half[1], 0] - origin) / directions
        plane = far.min(axis=2)
        assert (view.exact_depth <= plane + 1e-4).all()  # nothing behind the walls
        bare = view.object_ids == -1
        exact = np.abs(view.exact_depth - plane) < 2e-6 * plane + 1e-6
        assert bare.sum() > 3000
        assert exact[bare].mean() > 0.8  # the rest is baseboard, wainscot and the lamp
        assert not exact[~bare].any()


def test_every_pixel_sees_something(views):
    for view in views:
        assert (view.exact_depth > 0.05).all()
        assert view.frame.image.std() > 20


def test_things_are_seen_inside_their_boxes(room, views):
    seen = set()
    for view in views:
        points = points_of(view)
        for index in np.unique(view.object_ids[view.object_ids >= 0]):
            thing = room.objects[index]
            pose = thing.world_from_object(view.frame.stamp_ns)
            local = (points[view.object_ids == index] - pose[:3, 3]) @ pose[:3, :3]
            assert (np.abs(local) <= thing.size / 2 + 1e-5).all(), thing.name
            if thing.label == "box":
                reach = np.abs(np.abs(local) - thing.size / 2).min(axis=1)
                assert reach.max() < 1e-5
            if thing.label == "ball":
                radius = np.linalg.norm(local, axis=1) / (thing.size[0] / 2)
                assert radius.min() > 0.97 and radius.max() < 1 + 1e-5  # a polyhedron inscribed in the sphere
            seen.add(thing.label)
    assert len(seen) >= 4


def test_a_pushed_thing_is_seen_where_it_is(room, views):
    push = room.pushes[0]
    thing = room.objects[push.object]
    assert thing.label == "box"
    moving = [v for v in views if push.start_ns < v.frame.stamp_ns < push.end_ns]
    assert len(moving) >= 3
    counted = 0
    for view in moving:
        pose = push.pose(view.frame.stamp_ns)
        mask = view.object_ids == push.object
        local = (points_of(view)[mask] - pose[:3, 3]) @ pose[:3, :3]
        assert np.abs(np.abs(local) - thing.size / 2).min(axis=1).max(initial=0) < 1e-5
        counted += mask.sum()
    assert counted > 100


@pytest.mark.parametrize(("first", "second"), [(0, 3), (5, 9), (16, 12), (19, 10)])
def test_views_agree_with_each_other(views, first, second):
    """Exact depth of one view, projected into another, lands on its exact depth wherever nothing is in front."""
    a, b = views[first], views[second]
    still = a.object_ids == -1
    local = (points_of(a)[still] - b.frame.world_from_camera[:3, 3]) @ b.frame.world_from_camera[:3, :3]
    local = local[local[:, 2] > 0.1]
    pixels = local / local[:, 2:] @ b.frame.camera.intrinsics.T
    u, v = pixels[:, 0], pixels[:, 1]
    inside = (u >= 0) & (u <= 159) & (v >= 0) & (v <= 119)
    assert inside.sum() > 500
    u, v, z = u[inside], v[inside], local[inside, 2]
    # Inverse depth is linear in the image on a plane: interpolation is exact there.
    inverse = map_coordinates(1 / b.exact_depth.astype(float), [v, u], order=1)
    plain = b.object_ids[np.rint(v).astype(int), np.rint(u).astype(int)] == -1
    error = np.abs(1 / inverse - z)[plain]
    assert np.median(error) < 1e-4
    assert (1 / inverse < z + 0.02 * z)[plain].mean() > 0.98  # what is not seen there is hidden, not missing


def test_still_things_keep_their_looks(views):
    """The colour of a wall point is the same from everywhere, but for reflections and the pixel grid."""
    a, b = views[0], views[1]
    points = points_of(a)
    local = (points - b.frame.world_from_camera[:3, 3]) @ b.frame.world_from_camera[:3, :3]
    pixels = (local / local[..., 2:]) @ b.frame.camera.intrinsics.T
    warped = cv2.remap(b.frame.gray, *np.moveaxis(pixels[..., :2].astype(np.float32), 2, 0), cv2.INTER_LINEAR)
    inside = (a.object_ids == -1) & (warped > 0)
    assert np.median(np.abs(warped.astype(int) - a.frame.gray)[inside]) <= 2


def test_without_noise_frames_carry_exact_depth(views):
    for view in views[::7]:
        assert np.abs(view.frame.depth - view.exact_depth).max() <= 0.0005 + 1e-6
        assert view.frame.depth.dtype == np.float32 and view.frame.world_frame == "odom"


def test_render_is_a_function_of_seed_camera_and_index():
    first = make_room(7, size=(96, 72), fps=5, duration=2)
    second = make_room(7, size=(96, 72), fps=5, duration=2)
    other = make_room(8, size=(96, 72), fps=5, duration=2)
    straight = [first.render(i) for i in range(4)]
    back = [second.render(i) for i in reversed(range(4))][::-1]
    for a, b in zip(straight, back, strict=True):
        assert (a.frame.image == b.frame.image).all() and (a.frame.depth == b.frame.depth).all()
        assert (a.exact_depth == b.exact_depth).all() and (a.object_ids == b.object_ids).all()
    assert (other.render(0).frame.image != straight[0].frame.image).mean() > 0.5
    assert first.render(-1).frame.stamp_ns == first.stamps[-1]


@pytest.mark.parametrize("seed", [0, 3])
def test_there_is_something_to_track_everywhere(seed):
    """Corners from textures alone (no sensor noise), at full size: at least 200, and not only on the furniture."""
    room = make_room(seed, duration=2, fps=5, noise=0)
    view = room.render(3)
    corners = cv2.goodFeaturesToTrack(view.frame.gray, 2000, 0.005, 7)[:, 0]
    assert len(corners) >= 200
    shell = view.object_ids[corners[:, 1].astype(int), corners[:, 0].astype(int)] == -1
    assert shell.sum() >= 20
