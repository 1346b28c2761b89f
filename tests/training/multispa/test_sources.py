import pickle
import shutil
from collections import Counter

import numpy as np
import pytest

from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_training.multispa.sources import open_sources
from spatial_mllm_training.multispa.sources.usable import usable

from ..scenes import room_scene
from ..source_files import (
    picture,
    tapvid3d_arrays,
    write_bag,
    write_image,
    write_scannet,
    write_seven_scenes,
    write_tum,
)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """One scene of each kind, and things that are none, in folders as people keep them."""
    root = tmp_path_factory.mktemp("data")
    write_scannet(root / "scannet/scans/scene0000_00", 2)
    write_scannet(root / "scannet/scans/scene0000_01/exported", 3)
    write_seven_scenes(root / "7scenes/chess/seq-01", 2)
    write_seven_scenes(root / "7scenes/fire/seq-01", 3)
    write_tum(root / "tum/rgbd_dataset_freiburg1_desk", 2)
    write_bag(root / "lab/room.mcap", 2)
    (root / "tapvid3d/adt").mkdir(parents=True)
    arrays, _, _ = tapvid3d_arrays(2)
    np.savez(root / "tapvid3d/adt/video 10.npz", **arrays)
    np.savez(root / "tapvid3d/adt/video 9.npz", **arrays)
    np.savez(root / "tapvid3d/adt/predictions.npz", tracks_XYZ=arrays["tracks_XYZ"])
    write_image(root / "holiday/beach.jpg", picture(0))
    (root / "notes.txt").write_text("no scene")
    shutil.copytree(root / "lab", root / ".trash")
    return root


NAMES = [
    ("bag", "room"),
    ("rgbd_folder", "chess.seq-01"),
    ("rgbd_folder", "fire.seq-01"),
    ("rgbd_folder", "rgbd_dataset_freiburg1_desk"),
    ("scannet", "scene0000_00"),
    ("scannet", "scene0000_01.exported"),
    ("tapvid3d", "video_9"),
    ("tapvid3d", "video_10"),
]


def named(refs):
    return [(ref.source, ref.name) for ref in refs]


def test_a_folder_gives_all_its_scenes(everything):
    assert named(open_sources([str(everything)])) == NAMES


def test_the_order_and_repetition_of_sources_do_not_matter(everything):
    specs = [str(everything / name) for name in ("tapvid3d", "tum", "7scenes/fire", "scannet", "lab", "7scenes", "lab")]
    assert named(open_sources([*specs, str(everything / "tum/../tum")])) == NAMES
    assert open_sources([]) == []


def test_references_open_in_another_process(everything):
    for ref in open_sources([str(everything)]):
        data = pickle.dumps(ref)
        assert len(data) < 1000 and pickle.loads(data) == ref
        scene, again = ref.open(), pickle.loads(data).open()
        assert (scene.name, scene.source, scene.key) == (ref.name, ref.source, again.key)
        assert len(scene.frames) in (2, 3) and scene.frames[1].image is not None
        stamps = [frame.stamp_ns for frame in scene.frames]
        assert stamps == sorted(set(stamps))


def test_keys_tell_scenes_apart(everything):
    keys = [ref.open().key for ref in open_sources([str(everything / n) for n in ("scannet", "7scenes", "tum", "lab")])]
    assert len(set(keys)) == len(keys) == 6


def test_names_that_meet_are_told_apart_by_as_little_as_needed(tmp_path):
    for place in ("a/monday", "b/monday", "b/tuesday"):
        (tmp_path / place).mkdir(parents=True)
        for name in ("room.mcap", "hall way.mcap"):
            (tmp_path / place / name).write_bytes(b"\x89MCAP0\r\n")
    (tmp_path / "b/tuesday/only.mcap").write_bytes(b"\x89MCAP0\r\n")
    names = [ref.name for ref in open_sources([str(tmp_path)])]
    assert names == sorted(
        [
            "only",
            *(f"{place}.{name}.mcap" for place in ("a.monday", "b.monday", "tuesday") for name in ("hall_way", "room")),
        ]
    )


def test_no_name_is_longer_than_a_file_can_be_called(tmp_path):
    for last in "ab":
        write_seven_scenes(tmp_path / (250 * "n" + last), 2)
    names = [ref.name for ref in open_sources([str(tmp_path)])]
    assert len(set(names)) == 2 and all(len(name) <= 120 for name in names)


def test_parts_of_one_recording_are_one_scene(tmp_path):
    for name in ("room_0.mcap", "room_1.mcap"):
        (tmp_path / name).write_bytes(b"\x89MCAP0\r\n")
    assert named(open_sources([str(tmp_path)])) == [("bag", tmp_path.name)]
    (tmp_path / "hall_0.mcap").write_bytes(b"\x89MCAP0\r\n")
    assert len(open_sources([str(tmp_path)])) == 3


def test_simulated_rooms(everything):
    refs = open_sources(["simulated:3-4", str(everything / "lab"), "simulated:4"])
    assert named(refs) == [("bag", "room"), ("simulated", "room-3"), ("simulated", "room-4")]
    with pytest.raises(SpatialError):
        open_sources(["simulated:x"])


def test_paths_that_hold_no_scene(everything):
    for name, message in (
        ("nowhere", "does not exist: expected a recording"),
        ("notes.txt", "holds no scene: expected a recording"),
        ("holiday", "holds no scene"),
        ("holiday/beach.jpg", "holds no scene"),
    ):
        with pytest.raises(SpatialError, match=message) as caught:
            open_sources([str(everything / "lab"), str(everything / name)])
        assert caught.value.code == ErrorCode.BAD_REQUEST


def test_frames_are_in_order_of_time_and_each_stamp_once():
    frames, dropped = room_scene(6).frames, Counter()
    kept, lacks = usable([frames[i] for i in (3, 0, 1, 3, 5, 0)], dropped)
    assert [frames.index(frame) for frame in kept] == [0, 1, 3, 5]
    assert dropped == {"a stamp that was there before": 2} and not lacks


def test_folders_that_lead_to_themselves_end(tmp_path):
    write_bag(tmp_path / "lab/room.mcap", 2)
    (tmp_path / "lab/again").symlink_to(tmp_path)
    assert named(open_sources([str(tmp_path)])) == [("bag", "room")]
