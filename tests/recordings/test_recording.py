"""Recordings of every format: read whole, cut off at any byte, damaged, without index or metadata."""

import os
import struct
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spatial_mllm_ros.recordings import BagError, BagWarning, Recording, messages

from .recordings import FORMATS, START, STEP, data_file, image, rgbd, write, write_ros2


def listed(path, topics=None):
    """(topic, stamp, what tells it apart) of all messages that can be read; warnings are kept quiet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BagWarning)
        return [(topic, stamp, content(message)) for topic, stamp, message in messages(path, topics)]


def content(message):
    if hasattr(message, "transforms"):
        return [(t.child_frame_id, t.transform.translation.x) for t in message.transforms]
    return message.data.tobytes() if hasattr(message, "data") else message.header.stamp.nanosec


@pytest.mark.parametrize("kind", FORMATS)
def test_reads_what_was_written(tmp_path, kind):
    written = rgbd(5)
    recording = write(tmp_path, written, kind)
    assert listed(recording) == [(topic, ns, content(message)) for topic, ns, message in written]
    with Recording(recording) as opened:
        assert opened.start_ns == START
        assert opened.end_ns == START + 4 * STEP
        assert opened.counts["/camera/color/image_raw"] == 5
        assert opened.counts["/tf_static"] == 1
        assert opened.topics["/tf"].type == "tf2_msgs/msg/TFMessage"
        assert not opened.problems


@pytest.mark.parametrize("kind", FORMATS)
def test_reads_a_part(tmp_path, kind):
    recording = write(tmp_path, rgbd(6), kind)
    with Recording(recording) as opened:
        part = [ns for _, ns, _ in opened.messages(["/tf"], START + STEP, START + 3 * STEP)]
    assert part == [START + STEP, START + 2 * STEP]


def test_ros1_camera_info_has_the_names_of_ros2(tmp_path):
    recording = write(tmp_path, rgbd(1), "ros1")
    ((_, _, message),) = messages(recording, ["/camera/color/camera_info"])
    assert message.k[0] == 20.0
    assert message.header.frame_id == "optical"


@pytest.mark.parametrize("kind", FORMATS)
def test_cut_off_anywhere_gives_what_was_before(tmp_path, kind):
    file = data_file(write(tmp_path, rgbd(12), kind))
    whole, data = listed(file), file.read_bytes()
    cut = tmp_path / f"cut{file.suffix}"
    counts = []
    for size in np.linspace(40, len(data) - 1, 50).astype(int):
        cut.write_bytes(data[:size])
        read = listed(cut)
        assert read == whole[: len(read)], f"cut at {size}"
        counts.append(len(read))
    assert counts == sorted(counts)
    if kind in ("ros1", "mcap"):  # the others hold so little in one chunk, or in many pages
        assert counts[len(counts) // 2] >= len(whole) // 4
    assert counts[-1] >= len(whole) - (5 if kind == "sqlite3" else 0)


@pytest.mark.parametrize("kind", FORMATS)
def test_cut_off_says_when(tmp_path, kind):
    noise = np.random.default_rng(0)
    written = []
    for i in range(120):
        ns = START + i * STEP
        written.append(("/image", ns, image(ns, noise.integers(0, 256, (100, 100, 3), np.uint8), "rgb8")))
    file = data_file(write(tmp_path, written, kind))
    os.truncate(file, int(file.stat().st_size * 0.7))
    when = r"cut off or damaged \d+\.\d+ s after its start \(stamp 170000000\d\.\d+\)"
    with pytest.warns(BagWarning, match=when), Recording(file) as opened:
        assert START < opened.end_ns < START + 119 * STEP
        assert sum(1 for _ in opened.messages()) == opened.counts.total() > 50


@pytest.mark.parametrize("kind", ["sqlite3", "mcap"])
def test_cut_off_folder_with_metadata(tmp_path, kind):
    folder = write(tmp_path, rgbd(50), kind)
    file = data_file(folder)
    os.truncate(file, file.stat().st_size // 2)
    with pytest.warns(BagWarning, match="cut off"):
        read = list(messages(folder, ["/tf"]))
    assert 5 < len(read) < 50


@pytest.mark.parametrize("kind", ["sqlite3", "mcap"])
def test_recorder_died_before_metadata(tmp_path, kind):
    folder = write(tmp_path, rgbd(5), kind)
    whole = listed(folder)
    (folder / "metadata.yaml").unlink()
    assert listed(folder) == whole
    (folder / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    assert listed(folder) == whole


def test_split_files_are_read_in_order_of_number(tmp_path):
    written = rgbd(12)
    folder = tmp_path / "split"
    folder.mkdir()
    for i in range(12):
        part = write_ros2(tmp_path / f"part{i}", [m for m in written if m[1] == START + i * STEP])
        data_file(part).rename(folder / f"split_{i}.mcap")
    assert listed(folder) == [(topic, ns, content(message)) for topic, ns, message in written]


def test_ros1_bag_that_was_never_closed(tmp_path):
    recording = write(tmp_path, rgbd(5), "ros1")
    whole = listed(recording)
    data = recording.read_bytes()
    key = b"index_pos="
    at = data.index(key) + len(key)
    (index,) = struct.unpack_from("<Q", data, at)
    active = tmp_path / "r.bag.active"
    active.write_bytes(data[:at] + bytes(8) + data[at + 8 : index])
    with pytest.warns(BagWarning, match="cut off"):
        assert len(list(messages(active))) == len(whole)
    assert listed(active) == whole


def test_mcap_without_index_may_be_out_of_order(tmp_path):
    """rosbag2's fast preset writes no chunks, no summary; messages of several topics may swap places."""

    def record(op, body):
        return struct.pack("<BQ", op, len(body)) + body

    def text(value):
        return struct.pack("<I", len(value)) + value.encode()

    stamps = [3, 1, 2]
    body = record(0x01, text("ros2") + text("")) + record(
        0x03, struct.pack("<H", 1) + text("std_msgs/msg/String") + text("ros2msg") + text("string data")
    )
    body += record(0x04, struct.pack("<HH", 1, 1) + text("/said") + text("cdr") + struct.pack("<I", 0))
    for ns in stamps:
        payload = b"\0\1\0\0" + struct.pack("<I", 2) + str(ns).encode() + b"\0"
        body += record(0x05, struct.pack("<HIQQ", 1, 0, ns, ns) + payload)
    body += record(0x0F, bytes(4)) + record(0x02, bytes(20))
    file = tmp_path / "fast.mcap"
    file.write_bytes(b"\x89MCAP0\r\n" + body + b"\x89MCAP0\r\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [(ns, m.data) for _, ns, m in messages(file)] == [(3, "3"), (1, "1"), (2, "2")]


def test_sqlite_log_that_was_never_merged_is_named(tmp_path):
    folder = write(tmp_path, rgbd(2), "sqlite3")
    (folder / "r.db3-wal").write_bytes(b"x")
    with pytest.warns(BagWarning, match=r"r\.db3-wal was never merged"), Recording(folder):
        pass


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    files = {}
    for kind in FORMATS:
        file = data_file(write(tmp_path_factory.mktemp(kind), rgbd(4), kind))
        files[kind] = file, file.read_bytes()
    return files


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(FORMATS), at=st.floats(0, 0.999), junk=st.binary(min_size=1, max_size=12))
def test_damaged_bytes_never_escape(intact, kind, at, junk):
    file, data = intact[kind]
    damaged = file.with_name(f"damaged{file.suffix}")
    i = int(at * len(data))
    damaged.write_bytes(data[:i] + junk + data[i + len(junk) :])
    try:
        assert len(listed(damaged)) <= 17
    except BagError as error:
        assert i < 16, error


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda p: None, "does not exist"),
        (lambda p: p.touch(), "is empty"),
        (lambda p: p.write_text("hello"), "is no recording"),
        (lambda p: p.mkdir(), "holds no recording: expected a folder with .mcap, .db3 or .bag files"),
    ],
)
def test_not_a_recording(tmp_path, make, text):
    path = tmp_path / "thing.mcap"
    make(path)
    with pytest.raises(BagError, match=text):
        Recording(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    file = data_file(write(tmp_path, rgbd(1), "mcap"))
    file.chmod(0)
    with pytest.raises(BagError, match="cannot be read: Permission denied"):
        Recording(file)


def test_unknown_topic_lists_the_right_ones(tmp_path):
    recording = write(tmp_path, rgbd(1), "mcap")
    with pytest.raises(BagError, match=r"no topic /tff; topics in r: .*/camera/color/image_raw.*, /tf, /tf_static"):
        list(messages(recording, ["/tff"]))


def test_odd_file_names(tmp_path):
    odd = tmp_path / "a b#c?d%20.db3"
    file = data_file(write(tmp_path, rgbd(2), "sqlite3")).rename(odd)
    assert len(listed(file)) == 9


def test_messages_are_not_held(tmp_path):
    big = np.zeros((400, 1000, 3), np.uint8)
    written = [("/image", START + i * STEP, image(START + i * STEP, big, "rgb8")) for i in range(40)]
    recording = write(tmp_path, written, "mcap")
    del written
    for path in (recording, _without_end(recording)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tracemalloc.start()
            count = sum(1 for _ in messages(path))
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert count == 40
        assert peak < 15 * big.nbytes, "48 MB are in the file"


def _without_end(recording: Path) -> Path:
    file = data_file(recording)
    cut = recording.parent / "cut.mcap"
    cut.write_bytes(file.read_bytes()[:-100])
    return cut
