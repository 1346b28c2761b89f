"""New recordings: whole or not at all, whatever goes wrong."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from spatial_mllm_ros.recordings import BagError, BagWriter, Recording, messages
from spatial_mllm_ros.recordings.types import typestore

from .recordings import START, STEP, image, rgbd, transforms, write_ros2

T = typestore().types


def reward(i):
    stamp = T["builtin_interfaces/msg/Time"](sec=1, nanosec=i)
    vector = T["geometry_msgs/msg/Vector3"](x=0.1, y=0.2, z=0.3)
    header = T["std_msgs/msg/Header"](stamp=stamp, frame_id="odom")
    return T["spatial_mllm_msgs/msg/MotionReward"](
        header, "camera", stamp, True, 0.5, 0.6, vector, 0.01, 0.9, "geometry"
    )


@pytest.mark.parametrize("name", ["new.mcap", "new"])
def test_rosbags_reads_what_was_written(tmp_path, name):
    with BagWriter(tmp_path / name) as bag:
        for topic, ns, message in rgbd(3):
            bag.write(topic, message, ns)
        bag.write("/spatial_mllm/motion_reward", reward(7), START + 2 * STEP)
        assert not (tmp_path / name).exists(), "it appears when it is whole"
    assert [p.name for p in tmp_path.iterdir()] == [name]
    with AnyReader([tmp_path / name]) as reader:
        read = [(c.topic, ns, reader.deserialize(data, c.msgtype)) for c, ns, data in reader.messages()]
        qos = {c.topic: c.ext.offered_qos_profiles[0] for c in reader.connections}
    assert len(read) == 14
    ((_, _, last),) = [m for m in read if m[0] == "/spatial_mllm/motion_reward"]
    assert (last.target, last.distance, last.reference_stamp.nanosec, last.source) == ("camera", 0.5, 7, "geometry")
    assert qos["/tf_static"].durability.name == "TRANSIENT_LOCAL"
    assert qos["/tf"].durability.name == "VOLATILE"


def test_nothing_stays_when_the_writer_fails(tmp_path):
    with pytest.raises(RuntimeError), BagWriter(tmp_path / "new.mcap") as bag:
        bag.write("/tf", transforms(), START)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["new.mcap", "new"])
def test_what_exists_stays_unless_it_may_go(tmp_path, name):
    def write(overwrite, ns):
        with BagWriter(tmp_path / name, overwrite=overwrite) as bag:
            bag.write("/tf", transforms(), ns)

    write(False, START)
    with pytest.raises(BagError, match="exists already: choose another name"):
        write(False, START + 1)
    with pytest.raises(RuntimeError), BagWriter(tmp_path / name, overwrite=True):
        raise RuntimeError
    assert [ns for _, ns, _ in messages(tmp_path / name)] == [START]
    write(True, START + 2)
    assert [ns for _, ns, _ in messages(tmp_path / name)] == [START + 2]
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_folder_of_other_things_is_never_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    with pytest.raises(BagError, match="is a folder but no recording"):
        BagWriter(tmp_path / "photos", overwrite=True)


def test_missing_folder(tmp_path):
    with pytest.raises(BagError, match=r"the folder .*/none does not exist"):
        BagWriter(tmp_path / "none" / "new.mcap")


def test_output_below_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BagError, match="cannot be written"):
        BagWriter(tmp_path / "file" / "new.mcap")


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="there is no folder that root cannot write to")
def test_no_permission():
    with pytest.raises(
        BagError, match=r"cannot be written: (Permission denied|Operation not permitted|Read-only file)"
    ):
        BagWriter("/sys/new.mcap")


def test_one_type_a_topic(tmp_path):
    with (
        pytest.raises(BagError, match=r"/tf carries tf2_msgs/msg/TFMessage; a sensor_msgs/msg/Image does not go there"),
        BagWriter(tmp_path / "new.mcap") as bag,
    ):
        bag.write("/tf", transforms(), START)
        bag.write("/tf", image(START, np.zeros((2, 2, 3), np.uint8), "rgb8"), START)
    assert list(tmp_path.iterdir()) == []


def test_copies_topics_as_they_are(tmp_path):
    source = write_ros2(tmp_path / "r", rgbd(3))
    with Recording(source) as old, BagWriter(tmp_path / "copy.mcap") as new:
        for topic in old.topics.values():
            new.add_topic(topic, old.types(topic))
        for topic, ns, data in old.messages():
            new.write_cdr(topic.name, data, ns)
    with Recording(source) as old, Recording(tmp_path / "copy.mcap") as new:
        assert [(t.name, ns, data) for t, ns, data in old.messages()] == [
            (t.name, ns, data) for t, ns, data in new.messages()
        ]


FULL = """
import sys
import numpy as np
from spatial_mllm_ros.recordings import BagError, BagWriter
from tests.recordings.recordings import START, image

picture = image(START, np.zeros((int(sys.argv[2]), 100, 3), np.uint8), "rgb8")
try:
    with BagWriter(sys.argv[1]) as bag:
        for i in range(100):
            bag.write("/image", picture, START + i)
except BagError as error:
    print(error)
"""


@pytest.mark.parametrize("rows", [100, 1000])  # fails while writing, or only when closing
@pytest.mark.parametrize("limit", [1000, 2_500_000])
def test_full_disk(tmp_path, rows, limit):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    target = tmp_path / "new.mcap"
    child = subprocess.run(
        [sys.executable, "-c", FULL, str(target), str(rows)],
        preexec_fn=small_files,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert child.stdout.strip() == f"{target} cannot be written: File too large"
    assert child.stderr == ""
    assert list(tmp_path.iterdir()) == []
