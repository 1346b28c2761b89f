"""What a recording may ask for is bounded: files that ask for more, what is said, and what still reads."""

import json
import os
import resource
import socket
import sqlite3
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from spatial_mllm_ros.recordings import (
    BagError,
    BagWarning,
    Recording,
    indexed,
    limits,
    read_frames,
    recording_info,
    source,
    storage,
)
from spatial_mllm_ros.recordings.definitions import plain_idl
from spatial_mllm_ros.recordings.limits import Limit, TooMuch
from tests.cases import hostile, mcap
from tests.cases.hostile import HOSTILE, channel, links, message, with_camera
from tests.recordings.recordings import (
    START,
    STEP,
    data_file,
    image,
    odometry,
    rgbd,
    transforms,
    write,
    write_ros1,
    write_ros2,
)

ROOT = Path(__file__).parents[2]
NOTHING = None  # is missing
SAID = {
    "brackets in IDL": "'(' in a definition: constants that have to be computed are not read",
    "shift in IDL": "'<<' in a definition: constants that have to be computed are not read",
    "comments in IDL": "the recorded definition of sensor_msgs/msg/Image cannot be used",
    "sequences in IDL": "levels of brackets of a definition in IDL: 9, at most 8 are read",
    "long array": "an array of 300000000 parts, at most 67108864 are read",
    "arrays of arrays": "parts of a message of fixed length: 810,900, at most 1,000 are read",
    "many fields": "a definition: 708,890 characters, at most 262,144 characters are read",
    "chunk of zstd": "a chunk: 12 GiB, at most 1 GiB are read",
    "chunk that says less": "no camera",
    "many chunks": "messages and other records: ",
    "chunks of bz2": "a packed chunk: 256 MiB, at most 128 MiB are read",
    "tiny messages": "messages and other records: 132,096, at most ",
    "huge TFMessage": "transforms in one reading: 18.31 MiB, at most 4.",
    "aliases": NOTHING,
    "deep metadata": "metadata.yaml is broken",
    "packed folder": "files that are packed as a whole, unpacked to the temporary folder: ",
    "packed messages": "a message that is packed with zstd: 1",
    "recursive view": "'messages' is computed (view), expected a table of which every value is in the file",
    "zeros in a view": "'messages' is computed (view), expected a table of which every value is in the file",
    "computed column": "'messages' is computed (table), expected a table of which every value is in the file",
    "shared pages": "steps of SQLite in one reading: ",
    "pipe": "a.mcap is a pipe: expected a file",
    "pipe as metadata": "metadata.yaml is broken",
    "far number": "bag_99999999999.mcap is not read: bag_0.mcap has the same topics over the same time",
    "same chunk": NOTHING,
    "many topics": "topics and types: 10,001, at most 10,000 are read",
    "one schema of many topics": NOTHING,
    "fields of a header": "fields of a header in a ROS 1 bag: 101, at most 100 are read",
    "many cameras": "50 topics of images are not looked at: the first 100 by name are",
    "far stamps": "a message is stamped beyond the year 2262",
}
SLOW = {"many transforms", "transforms one by one"}  # 40,000 poses are really computed
MEGABYTES, CPU_SECONDS = 1000, 300


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What ``info`` says of each hostile file, all in one process that may not take much."""
    paths = {}
    for i, name in enumerate(SAID):
        folder = tmp_path_factory.mktemp(f"hostile{i}")
        paths[str(HOSTILE[name](folder))] = name

    def bounded():
        resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))  # what libraries map is most of it
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))

    command = [sys.executable, "-m", "tests.cases.hostile", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=bounded)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    looks = [json.loads(line) for line in done.stdout.splitlines()]
    return {paths[look["path"]]: look for look in looks}


def test_there_is_a_word_about_each():
    assert set(SAID) | SLOW == set(HOSTILE)


@pytest.mark.parametrize("name", SAID)
def test_a_small_file_that_asks_for_a_lot(seen, name):
    look = seen[name]
    said = look.get("error") or "; ".join(look["problems"])
    assert SAID[name] in said if SAID[name] else "cut off" not in said
    assert "error" not in look or look["error"].startswith("BagError")
    assert look["megabytes"] < MEGABYTES


def problems(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        return recording_info(path, **options).problems


def test_transforms_end_where_there_are_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "TRANSFORMS", replace(limits.TRANSFORMS, most=10_000, per_byte=0))
    path = with_camera(tmp_path, message(links(50)), message(links(50), START + 1), message(links(50), START + 2))
    assert any("transforms in one reading: " in problem for problem in problems(path, seconds=0))


def test_a_reading_ends_where_too_much_was_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "PASS", replace(limits.PASS, most=2**20, per_byte=0))
    black = np.zeros((480, 640, 3), np.uint8)  # 0.9 MB
    images = [("/x", START + i, image(START + i, black, "rgb8")) for i in range(3)]
    path = write_ros2(tmp_path / "bag", images, StoragePlugin.SQLITE3, CompressionMode.MESSAGE)
    with Recording(path) as recording, pytest.warns(BagWarning, match="what is unpacked in one reading: 1.758 MiB"):
        assert [stamp for _, stamp, _ in recording.messages()] == [START]
    path = write_ros2(tmp_path / "chunks", images, StoragePlugin.MCAP, CompressionMode.STORAGE)
    with pytest.warns(BagWarning, match="what is unpacked in one reading: "), Recording(path) as recording:
        assert len(list(recording.messages())) < 3


@pytest.mark.parametrize(("most", "free"), [(None, 10_000), (10_000, None)])
def test_a_file_that_does_not_fit_is_not_unpacked(tmp_path, monkeypatch, most, free):
    path = write_ros2(tmp_path / "bag", rgbd(30), StoragePlugin.SQLITE3, CompressionMode.FILE)
    if most:
        monkeypatch.setattr(storage, "FILE", replace(limits.FILE, most=most, per_byte=0))
    else:
        monkeypatch.setattr(storage, "disk_usage", lambda folder: SimpleNamespace(free=free + limits.FREE.most))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(BagError, match="unpacked to the temporary folder: " if most else "no room to unpack it in "):
        Recording(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["bag"]


@pytest.mark.parametrize("mode", [CompressionMode.STORAGE, CompressionMode.FILE, CompressionMode.MESSAGE])
def test_black_images_pack_a_thousand_to_one_and_are_read(tmp_path, mode):
    black = np.zeros((480, 640, 3), np.uint8)
    written = [m for m in rgbd(30) if "image_raw" not in m[0]]
    written += [
        ("/camera/color/image_raw", START + i * STEP, image(START + i * STEP, black, "rgb8")) for i in range(30)
    ]
    write_ros2(tmp_path / "bag", sorted(written, key=lambda m: m[1]), StoragePlugin.MCAP, mode)
    assert sum(file.stat().st_size for file in (tmp_path / "bag").iterdir()) < 30 * black.size / 200
    with Recording(tmp_path / "bag") as recording:
        assert not recording.problems
        assert recording.counts["/camera/color/image_raw"] == 30
        data = [data for _, _, data in recording.messages(["/camera/color/image_raw"])]
        assert len(data) == 30 and all(len(one) > black.size for one in data)


def test_an_image_without_a_field_is_not_used_and_it_says_which(tmp_path):
    fields = b"std_msgs/Header header\nuint32 height\nuint32 width\nuint32 form\nuint8 big\nuint32 step\nuint8[] data"
    lacks = channel("/other/image_raw", hostile.IMAGE, fields, number=40)
    data = message(mcap.cdr(image(START, np.zeros((12, 16, 3), np.uint8), "rgb8")), number=40)
    path = with_camera(tmp_path, lacks, data)
    found = problems(path)
    assert any("no 'encoding' in sensor_msgs/msg/Image" in problem for problem in found)
    assert list(recording_info(path).cameras) == ["camera"]


def test_definitions_are_parsed_for_what_is_read(tmp_path, monkeypatch):
    from spatial_mllm_ros.recordings import recording as module

    parsed, ours = [], module.recorded_types
    monkeypatch.setattr(module, "recorded_types", lambda text, name: parsed.append(name) or ours(text, name))
    path = write_ros2(tmp_path / "bag", [*rgbd(3), ("/odom", START, odometry(START, 0.0))])
    with Recording(path) as recording:
        assert recording.first("/tf") is not None
    assert parsed == ["tf2_msgs/msg/TFMessage"]


def test_idl_without_what_lays_nothing_out():
    text = """
    // a (comment
    module a { module msg { /* another ((( */
      module B_Constants { const string WORD = "in ( it // "; };
      @verbatim (language="comment", text="it ( is" "more )")
      struct B { @unit(value="m") double x; @key long y; sequence<double, 5> z; };
    }; };"""
    expected = 'module a { module msg { module B_Constants { const string WORD = "in ( it // "; };'
    expected += " struct B { double x; long y; sequence<double, 5> z; }; }; };"
    assert plain_idl(text).split() == expected.split()


def test_a_message_of_ros1_that_cannot_be_converted_costs_no_other(tmp_path):
    path = write_ros1(tmp_path / "a.bag", rgbd(9))
    data = path.read_bytes()
    at = data.index(b"\x04\0\0\0odom")
    path.write_bytes(data[:at] + b"\xff\0\0\0" + data[at + 4 :])
    with pytest.warns(BagWarning, match="a message on /tf cannot be read"), Recording(path) as recording:
        assert [len(list(recording.messages([name]))) for name in ("/tf", "/camera/color/image_raw")] == [8, 9]


@pytest.mark.parametrize(("broken", "source"), [(range(1), "odometry"), (range(9), "tf")])
def test_odometry_of_which_messages_are_broken(tmp_path, broken, source):
    kind, written = "nav_msgs/msg/Odometry", [m for m in rgbd(9, poses="odometry") if m[0] == "/odom"]
    data = [mcap.cdr(m)[: 30 if i in broken else None] for i, (_, _, m) in enumerate(written)]
    odom = [message(one, ns, 40) for one, (_, ns, _) in zip(data, written, strict=True)]
    links = message(mcap.cdr(transforms((START, "base_link", "optical", (0.0, 0.0, 0.0)))))
    path = with_camera(tmp_path, channel("/odom", kind, number=40), *odom, links)
    info = recording_info(path, seconds=0)
    assert info.poses.source == source
    said = any("/odom is not used: none of its messages can be read" in problem for problem in info.problems)
    assert said == (len(broken) == 9)


def test_a_quaternion_of_large_numbers_is_refused_without_another_warning(tmp_path):
    moved: Any = transforms((START, "odom", "base_link", (0.0, 0.0, 0.0)))
    moved.transforms[0].transform.rotation.x = 1e200
    found = problems(with_camera(tmp_path, message(mcap.cdr(moved))), seconds=0)
    assert any("quaternion of length 1e+200" in problem for problem in found)


def test_metadata_with_aliases_as_some_tools_write_it(tmp_path):
    bag = write_ros2(tmp_path / "bag", rgbd(3), qos=[offer()])
    file = bag / "metadata.yaml"
    known = yaml.safe_load(file.read_text())
    topics = known["rosbag2_bagfile_information"]["topics_with_message_count"]
    for topic in topics:
        topic["topic_metadata"] = topics[0]["topic_metadata"]
    file.write_text(yaml.safe_dump(known))
    assert "*id001" in file.read_text()
    with Recording(bag) as recording:
        assert not recording.problems
        assert recording.topics["/tf"].qos == (offer(),)


def offer():
    from spatial_mllm_ros.recordings.topic import VOLATILE

    return VOLATILE[0]


@pytest.mark.parametrize("kind", ["a pipe", "a socket", "a folder"])
def test_what_is_no_file_is_not_opened(tmp_path, monkeypatch, kind):
    bag = tmp_path / "bag"
    write_ros2(bag, rgbd(3))
    (bag / "metadata.yaml").unlink()
    monkeypatch.chdir(bag)
    made = {"a pipe": os.mkfifo, "a socket": socket.socket(socket.AF_UNIX).bind, "a folder": os.mkdir}
    made[kind]("other.mcap")
    with pytest.warns(BagWarning, match=f"other.mcap is not read: is {kind}: expected a file"), Recording(bag) as found:
        assert found.counts["/tf"] == 3


def test_a_link_to_a_file_is_one(tmp_path):
    (tmp_path / "link.mcap").symlink_to(data_file(write_ros2(tmp_path / "bag", rgbd(3))))
    with Recording(tmp_path / "link.mcap") as recording:
        assert recording.counts["/tf"] == 3


def test_a_database_of_many_messages_is_read_in_order_of_time(tmp_path):
    count = 3000
    path = data_file(write(tmp_path, [("/tf", START, rgbd(1)[1][2])], "sqlite3"))
    db = sqlite3.connect(path)
    data = db.execute("SELECT data FROM messages").fetchone()[0]
    rows = ((START + i * 7919 % count + 1, data) for i in range(count))
    db.executemany("INSERT INTO messages(topic_id, timestamp, data) VALUES((SELECT id FROM topics), ?, ?)", rows)
    db.commit()
    db.close()
    with Recording(path) as recording:
        assert not recording.problems
        assert [stamp - START for _, stamp, _ in recording.messages()] == list(range(count + 1))


def test_a_database_without_a_table_is_cut_off(tmp_path):
    db = sqlite3.connect(tmp_path / "a.db3")
    db.execute("CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT)")
    db.commit()
    db.close()
    with pytest.warns(BagWarning, match="cut off or damaged before its first message"):
        Recording(tmp_path / "a.db3").close()


def test_an_index_that_names_a_chunk_often_gives_each_message_once(tmp_path):
    with Recording(hostile.same_chunk(tmp_path)) as recording:
        stamps = [stamp for _, stamp, _ in recording.messages(["/tf"])]
    assert stamps == [START + i * STEP for i in range(50)]


@pytest.mark.parametrize("most", [2**28, 10_000])
def test_chunks_that_overlap_come_in_order_of_time_as_far_as_they_may_wait(tmp_path, monkeypatch, most):
    monkeypatch.setattr(indexed, "OVERLAP", replace(limits.OVERLAP, most=most))
    path = mcap.write(tmp_path / "a.mcap", rgbd(40), chunk_without_index=True)
    with Recording(path) as recording:
        stamps = [stamp for _, stamp, _ in recording.messages()]
    assert len(stamps) == 161 and sorted(stamps) == stamps


def test_numbers_of_other_things_in_names_are_no_parts_that_are_missing(tmp_path):
    with pytest.warns(BagWarning) as said, Recording(HOSTILE["far number"](tmp_path)):
        pass
    assert not any("missing" in str(one.message) for one in said)


@pytest.mark.parametrize(("value", "size", "fits"), [(10, 0, True), (11, 0, False), (13, 6, True), (14, 6, False)])
def test_a_bound_grows_with_what_lies_on_the_disk(value, size, fits):
    limit = Limit("things", 10, "", "", 0.5)
    if fits:
        limit.check(value, size)
    else:
        with pytest.raises(TooMuch, match=f"things: {value}, at most {10 + size // 2} are read"):
            limit.check(value, size)


def test_the_page_of_limits_is_the_table_of_limits():
    page = (ROOT / "docs" / "limits.md").read_text("utf-8")
    rows = [line for line in page.partition("## Images")[0].splitlines() if line.startswith("| ")][1:]
    assert rows == [f"| {limit.what} | {limit.said} | {limit.why} |" for limit in every_limit()]


def every_limit():
    return [value for value in vars(limits).values() if isinstance(value, Limit)]


def test_frames_of_a_camera_with_hostile_neighbours_are_whole(tmp_path):
    path = with_camera(tmp_path, message(mcap.cdr(transforms((START, "odom", "base_link", (0.0, 0.0, 0.0))))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BagWarning)
        assert len(list(read_frames(path))) == 9


def test_errors_name_the_file(tmp_path):
    with pytest.raises(BagError, match=r"a\.db3: 'messages' is computed"):
        Recording(HOSTILE["recursive view"](tmp_path))
