"""Rooms as scenes: exact boxes and tracks against the poses of the room, depth against the boxes, what is visible."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_training.multispa.sources.simulated import LABELS, SimulatedRef, Views, simulated_refs

pytest.importorskip("embreex", reason="rooms are simulated with embreex")
SIZE = (96, 72)


@pytest.fixture(scope="module")
def room():
    """The same room, walk and pushes, made without the source."""
    from spatial_mllm_ros.simulation import make_room

    return make_room(3, SIZE, 2.0, 20.0, pushes=5, noise=0)


@pytest.fixture(scope="module")
def scene():
    return SimulatedRef(3, SIZE).open()


def test_specs_name_rooms():
    assert simulated_refs("simulated:7") == [SimulatedRef(7)]
    assert [(r.source, r.name) for r in simulated_refs("simulated:9-11")] == [
        ("simulated", "room-9"),
        ("simulated", "room-10"),
        ("simulated", "room-11"),
    ]
    assert simulated_refs("simulated:0")[0].size == (640, 480)
    small = simulated_refs("simulated:3-4@320x240")
    assert [(r.seed, r.size, r.name) for r in small] == [
        (3, (320, 240), "room-3-320x240"),
        (4, (320, 240), "room-4-320x240"),
    ]
    assert simulated_refs("simulated:3@640x480") == [SimulatedRef(3)]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("simulated:", "expected simulated:SEED or simulated:FIRST-LAST"),
        ("simulated:-3", "expected simulated:SEED"),
        ("simulated:1-2-3", "expected simulated:SEED"),
        ("simulated:x", "expected simulated:SEED"),
        ("simulated:1@320", "expected simulated:SEED"),
        ("simulated:1@0x240", "images of 0x240 pixels; expected sides from 64 to 4096"),
        ("simulated:1@320x9999", "images of 320x9999 pixels"),
        ("simulated:5-2", "the last seed is below the first"),
        ("simulated:0-1000000", "1000001 rooms; at most 1000000"),
        ("simulated:9999999999999999999", "expected simulated:SEED"),
    ],
)
def test_bad_specs_are_named(spec, text):
    with pytest.raises(SpatialError) as caught:
        simulated_refs(spec)
    assert caught.value.code == ErrorCode.BAD_REQUEST
    assert text in caught.value.message and spec in caught.value.message


def test_frames_are_those_of_the_room(scene, room):
    assert len(scene.frames) == len(room) == 40
    for i in (0, 17, 39):
        view, frame = room.render(i), scene.frames[i]
        assert (frame.image == view.frame.image).all()
        assert np.abs(frame.depth - view.exact_depth).max() <= 0.00051
        assert (scene.instance_map(i) == view.object_ids).all()
        assert (frame.world_from_camera == room.world_from_camera(i)).all()
        assert frame.stamp_ns == room.stamps[i] and frame.depth_camera == frame.camera
        assert scene.instance_map(i).dtype == np.int32
        assert frame.image.dtype == np.uint8 and frame.depth.dtype == np.float32


def test_things_are_those_of_the_room(scene, room):
    for thing, real in zip(scene.things, room.objects, strict=True):
        assert (thing.name, thing.label, thing.moving) == (real.name, real.label, real.moving)
        assert (thing.size == real.size).all() and (thing.world_from_thing == real.world_from_rest).all()
    assert sum(thing.moving for thing in scene.things) == 5
    assert scene.missing(("depth", "pose", "things", "tracks")) == ""


def test_still_things_are_inside_their_boxes(scene):
    """Every pixel of a thing, back-projected by hand, lies in its box; depth is rounded by half a millimetre."""
    checked = 0
    for i in (3, 20):
        frame, owner = scene.frames[i], scene.instance_map(i)
        k = frame.camera.intrinsics
        for v, u in np.argwhere(owner >= 0)[::7]:
            thing = scene.things[owner[v, u]]
            if not thing.moving:
                z = float(frame.depth[v, u])
                local = np.array([(u - k[0, 2]) / k[0, 0] * z, (v - k[1, 2]) / k[1, 1] * z, z, 1])
                inside = np.linalg.solve(thing.world_from_thing, frame.world_from_camera @ local)[:3]
                assert (np.abs(inside) <= thing.size / 2 + 0.002).all(), (thing.name, inside, thing.size)
                checked += 1
    assert checked > 200


def test_tracks_follow_the_poses_of_their_things(scene, room):
    tracks = scene.tracks()
    frames, count = tracks.visible.shape
    assert frames == 40 and tracks.points.shape == (40, count, 3) and tracks.pixels.shape == (40, count, 2)
    moving = [thing for thing in room.objects if thing.moving]
    assert np.unique(tracks.bodies).tolist() == [-1, 0, 1, 2, 3, 4]
    assert (tracks.points[:, tracks.bodies == -1] == tracks.points[:1, tracks.bodies == -1]).all()
    for body, thing in enumerate(moving):
        mine = tracks.points[:, tracks.bodies == body]
        local = [
            np.linalg.solve(thing.world_from_object(int(stamp)), np.column_stack([p, np.ones(len(p))]).T)[:3].T
            for stamp, p in zip(room.stamps, mine, strict=True)
        ]
        assert np.abs(np.array(local) - local[0]).max() < 1e-12
        assert (np.abs(local[0]) <= thing.size / 2 + 1e-9).all()
        assert np.ptp(local[0], axis=0) == pytest.approx(thing.size, rel=0.35)  # all over it
        ends = np.linalg.norm(mine[-1].mean(axis=0) - mine[0].mean(axis=0))
        pushed = np.linalg.norm(thing.push.at(1.0)[:3, 3] - thing.push.at(0.0)[:3, 3])
        assert ends == pytest.approx(pushed, abs=0.6 * max(thing.size) * (thing.push.spin != 0) + 1e-9)


def test_a_visible_point_is_what_its_pixel_shows(scene, room):
    """Its pixel by hand; there the thing is seen, and its surface is where the point is."""
    tracks = scene.tracks()
    names = {i for i, thing in enumerate(room.objects) if thing.moving}
    for i in range(0, 40, 3):
        frame, owner = scene.frames[i], scene.instance_map(i)
        for p in np.flatnonzero(tracks.visible[i]):
            x, y, z = np.linalg.solve(frame.world_from_camera, [*tracks.points[i, p], 1])[:3]
            u, v = frame.camera.intrinsics[:2, :2] @ [x / z, y / z] + frame.camera.intrinsics[:2, 2]
            assert tracks.pixels[i, p] == pytest.approx([u, v])
            seen = owner[round(v), round(u)]
            assert seen >= 0 and (seen in names) == (tracks.bodies[p] >= 0)
            assert abs(frame.depth[round(v), round(u)] - z) <= 1.5 * z / frame.camera.intrinsics[0, 0] + 0.001
    assert tracks.visible[:, tracks.bodies >= 0].any(axis=1).sum() >= 20
    assert not tracks.visible[0].all() and tracks.visible.any(axis=1).all()


def test_hidden_points_are_not_visible(scene):
    """A point well behind what its pixel shows is hidden; most points of a thing are somewhere."""
    tracks, hidden = scene.tracks(), 0
    for i in range(0, 40, 5):
        frame = scene.frames[i]
        with np.errstate(invalid="ignore"):
            inside = ((tracks.pixels[i] >= 0) & (tracks.pixels[i] < np.array(SIZE) - 1)).all(axis=1)
        for p in np.flatnonzero(inside):
            z = np.linalg.solve(frame.world_from_camera, [*tracks.points[i, p], 1])[2]
            u, v = np.rint(tracks.pixels[i, p]).astype(int)
            if z > frame.depth[v, u] + 0.1:
                hidden += 1
                assert not tracks.visible[i, p]
    assert hidden > 50


def test_each_view_is_rendered_once(monkeypatch):
    scene = SimulatedRef(4, (32, 24)).open()
    views = scene.instance_map.__self__
    assert isinstance(views, Views)
    rendered, render = [], views.room.render
    monkeypatch.setattr(views.room, "render", lambda i: rendered.append(i) or render(i))
    assert rendered == []
    for _ in range(2):
        for i in (5, 6):
            first = scene.frames[i].image
            assert scene.frames[i].depth.shape == scene.instance_map(i).shape == (24, 32)
            scene.frames[i].release()
            assert (scene.frames[i].image == first).all()
            scene.frames[i].release()
    assert rendered == [5, 6]
    assert scene.tracks() is scene.tracks()
    assert sorted(rendered) == list(range(40))


def test_a_reference_is_small_and_opens_the_same_scene_elsewhere(scene):
    ref = SimulatedRef(3, SIZE)
    copy = pickle.loads(pickle.dumps(ref))
    assert copy == ref and len(pickle.dumps(ref)) < 300
    other = copy.open()
    assert (other.key, other.name, other.source) == (scene.key, "room-3-96x72", "simulated")
    assert (other.frames[5].image == scene.frames[5].image).all()
    assert (other.instance_map(5) == scene.instance_map(5)).all()
    assert SimulatedRef(3, (32, 24)).open().key != scene.key


def test_another_room_has_another_key(scene):
    other = SimulatedRef(4, SIZE).open()
    assert other.key != scene.key and sum(thing.moving for thing in other.things) == 2


def test_vocabulary_is_what_the_builders_make(scene):
    """Every builder of furniture and things, built a few times, and the labels of some rooms."""
    import inspect

    from spatial_mllm_ros.simulation import furniture, make_room, things

    random, made = np.random.default_rng(0), {"rug"}
    for module in (furniture, things):
        for name, build in inspect.getmembers(module, inspect.isfunction):
            first, *rest = inspect.signature(build).parameters.values()
            simple = first.name == "rng" and all(p.default is not p.empty for p in rest)
            if build.__module__ == module.__name__ and not name.startswith("_") and simple:
                made |= {getattr(build(random), "label", "") for _ in range(4)}
    assert made - {""} == set(LABELS) == set(scene.vocabulary)
    assert {t.label for seed in (0, 1) for t in make_room(seed, (16, 16), 2, 1, pushes=0).objects} <= set(LABELS)


def test_without_the_ray_caster_the_error_says_what_to_install():
    code = (
        "import sys; sys.modules['embreex'] = None\n"
        "from spatial_mllm_training.multispa.sources.simulated import SimulatedRef\n"
        "from spatial_mllm_ros.errors import SpatialError\n"
        "try: SimulatedRef(0).open()\n"
        "except SpatialError as error: print(error.message)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0 and "pip install 'spatial-mllm-ros[simulate]'" in run.stdout
