"""Recordings whose files are not as they should be: all that can be read is, and what cannot is named."""

import base64
import json
import shutil
import sqlite3

import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from spatial_mllm_ros.recordings import BagError, BagWarning, Recording, read_frames, recording_info
from tests.cases import mcap, room
from tests.cases.room import COLOR, DEPTH, INFO, START, STEP
from tests.recordings.recordings import write_ros2

pytestmark = pytest.mark.filterwarnings("error::spatial_mllm_ros.recordings.BagWarning")
FRAMES = 8
PLUGINS = [StoragePlugin.MCAP, StoragePlugin.SQLITE3]


def small():
    return room.recording(FRAMES)


def assert_whole(bag, frames=range(FRAMES)):
    found = list(read_frames(bag))
    assert [f.stamp_ns for f in found] == [START + i * STEP for i in frames]
    for i, frame in zip(frames, found, strict=True):
        np.testing.assert_allclose(frame.world_from_camera, room.camera_pose(i), atol=1e-9)
        np.testing.assert_allclose(frame.depth, room.millimetres(room.see(room.camera_pose(i))[0]) / 1000, atol=1e-6)
        assert (frame.image == room.see(room.camera_pose(i))[1]).all()


def metadata(bag, change, text=lambda t: t):
    file = bag / "metadata.yaml"
    whole = yaml.safe_load(file.read_text())
    change(whole["rosbag2_bagfile_information"])
    file.write_bytes(text(yaml.safe_dump(whole)).encode())
    return bag


def set_counts(known):
    known["message_count"] = 0
    for topic in known["topics_with_message_count"]:
        topic["message_count"] = 0


def without_packing(known):
    known["relative_file_paths"] = [name.removesuffix(".zstd") for name in known["relative_file_paths"]]


@pytest.mark.parametrize("plugin", PLUGINS)
@pytest.mark.parametrize(
    "change",
    [
        lambda known: known.update(storage_identifier=""),
        lambda known: known.update(storage_identifier="my_storage"),
        lambda known: known.update(version=17),
        lambda known: known.update(custom_data=None, ros_distro=""),
        lambda known: [known.pop(name) for name in list(known) if name not in ("relative_file_paths", "version")],
        set_counts,
    ],
)
def test_metadata_that_is_odd(tmp_path, plugin, change):
    assert_whole(metadata(write_ros2(tmp_path / "bag", small(), plugin), change))


def test_metadata_with_other_line_ends_and_paths(tmp_path):
    bag = write_ros2(tmp_path / "bag", small())

    def into_folders(known):
        known["relative_file_paths"] = [f"somewhere\\else/{name}" for name in known["relative_file_paths"]]

    assert_whole(metadata(bag, into_folders, lambda text: text.replace("\n", "\r\n")))


@pytest.mark.parametrize("text", ["", "rosbag2_bagfile_information: [", "- 3", "a: b"])
def test_metadata_that_is_broken(tmp_path, text):
    bag = write_ros2(tmp_path / "bag", small())
    (bag / "metadata.yaml").write_text(text)
    with pytest.warns(BagWarning, match="metadata.yaml is broken: every file beside it was read"):
        assert_whole(bag)


def split(tmp_path, parts=3, named=range(3), name="rec"):
    """A recording of so many files, of which metadata.yaml names some."""
    folder, found = tmp_path / name, small()
    folder.mkdir()
    for k in range(parts):
        inside = [m for m in found if (m[1] - START) // STEP in range(k * FRAMES // parts, (k + 1) * FRAMES // parts)]
        part = write_ros2(tmp_path / f"{name}{k}", inside)
        next(part.glob("*.mcap")).rename(folder / f"{name}_{k}.mcap")
        if k == 0:
            shutil.copy(part / "metadata.yaml", folder)
    return metadata(folder, lambda m: m.update(relative_file_paths=[f"{name}_{k}.mcap" for k in named], files=[]))


def test_files_of_a_split_that_are_not_named(tmp_path):
    bag = split(tmp_path, named=[0])
    with pytest.warns(BagWarning, match=r"rec_1.mcap, rec_2.mcap: not named in metadata.yaml, but read"):
        assert_whole(bag)
    assert recording_info(bag).duration == pytest.approx((FRAMES - 1) * STEP / 1e9)


def test_files_of_a_split_that_are_gone(tmp_path):
    bag = split(tmp_path)
    (bag / "rec_1.mcap").unlink()
    with pytest.warns(BagWarning, match="rec_1.mcap, which metadata.yaml names, is missing; the rest was read"):
        assert_whole(bag, [0, 1, 5, 6, 7])
    (bag / "metadata.yaml").unlink()
    with pytest.warns(BagWarning, match="rec_1.mcap is missing, by the names of the other files"):
        assert_whole(bag, [0, 1, 5, 6, 7])


def test_the_first_file_of_a_split_is_gone(tmp_path):
    bag = split(tmp_path)
    (bag / "rec_0.mcap").unlink()
    info = recording_info(bag, 0)
    texts = "; ".join(info.problems)
    assert "rec_0.mcap, which metadata.yaml names, is missing" in texts
    assert "'optical' is unknown; known are 'base_link', 'odom'" in texts, "the static transform was in it"
    assert info.seen["camera"].complete == 0


def test_a_renamed_file(tmp_path):
    bag = write_ros2(tmp_path / "bag", small())
    (bag / "bag.mcap").rename(bag / "kitchen.mcap")
    with pytest.warns(BagWarning, match="names files that are not there; others were read: kitchen.mcap for bag.mcap"):
        assert_whole(bag)


@pytest.mark.parametrize("beside", ["old.mcap", "bag.mcap.zstd", "bag_copy.db3"])
def test_a_copy_beside_a_recording_is_not_read_twice(tmp_path, beside):
    bag = write_ros2(tmp_path / "bag", small())
    if beside.endswith(".db3"):
        shutil.copy(next(write_ros2(tmp_path / "other", small(), PLUGINS[1]).glob("*.db3")), bag / beside)
    elif beside.endswith(".zstd"):
        packed = write_ros2(tmp_path / "other", small(), compression=CompressionMode.FILE)
        shutil.copy(next(packed.glob("*.zstd")), bag / beside)
    else:
        shutil.copy(bag / "bag.mcap", bag / beside)
    if beside.endswith(".zstd"):
        assert_whole(bag)
    else:
        with pytest.warns(BagWarning, match=f"{beside} is not read: bag.mcap has the same topics over the same time"):
            assert_whole(bag)


@pytest.mark.parametrize("plugin", PLUGINS)
@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_packed_with_zstd_with_and_without_metadata(tmp_path, plugin, mode):
    bag = write_ros2(tmp_path / "bag", small(), plugin, mode)
    assert_whole(bag)
    assert_whole(next(f for f in bag.iterdir() if f.name != "metadata.yaml"))
    if mode == CompressionMode.FILE:
        assert_whole(metadata(bag, without_packing))
    (bag / "metadata.yaml").unlink()
    assert_whole(bag)


def test_a_packed_file_that_is_cut_off(tmp_path):
    bag = write_ros2(tmp_path / "bag", small(), compression=CompressionMode.FILE)
    file = next(bag.glob("*.zstd"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 3 // 4])
    with pytest.warns(BagWarning, match="is cut off or damaged"), Recording(bag) as recording:
        assert 2 < sum(1 for _ in recording.messages([COLOR])) < FRAMES


@pytest.mark.parametrize("change", [lambda data: b"", lambda data: data[:9], lambda data: data[:-9]])
def test_a_message_that_is_broken_costs_no_other(tmp_path, change):
    bag = write_ros2(tmp_path / "bag", small(), PLUGINS[1], CompressionMode.MESSAGE)
    with sqlite3.connect(bag / "bag.db3") as db:
        (key,) = db.execute("SELECT id FROM topics WHERE name = ?", (COLOR,)).fetchone()
        rows = db.execute("SELECT id, data FROM messages WHERE topic_id = ? ORDER BY timestamp", (key,)).fetchall()
        db.execute("UPDATE messages SET data = ? WHERE id = ?", (change(rows[3][1]), rows[3][0]))
    with pytest.warns(BagWarning, match=f"a message on {COLOR} cannot be read"):
        assert_whole(bag, [0, 1, 2, 4, 5, 6, 7])


def test_unpacked_files_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    bag = write_ros2(tmp_path / "bag", small(), compression=CompressionMode.FILE)
    with Recording(bag):
        assert list(tmp_path.glob("recording-*/bag.mcap"))
    assert not list(tmp_path.glob("recording-*"))


NAMES = "# definition not found\n"


@pytest.mark.parametrize(
    "schema",
    [
        lambda kind: (kind, "", ""),
        lambda kind: (kind, "ros2msg", ""),
        lambda kind: (kind, "ros2msg", " \n"),
        lambda kind: (kind, "ros2msg", kind),
        lambda kind: (kind, "ros2msg", NAMES),
        lambda kind: (kind, "unknown", NAMES),
        lambda kind: (kind, "ros2idl", ""),
        lambda kind: (kind.replace("/msg/", "/"), "ros2msg", ""),
        lambda kind: (kind.replace("/", "::"), "omgidl", ""),
        lambda kind: mcap.ros2_schema(kind) if "Image" in kind else (kind, "ros2msg", NAMES),
    ],
)
def test_schemas_without_a_definition(tmp_path, schema):
    assert_whole(mcap.write(tmp_path / "bag.mcap", small(), schema))


def test_no_schema_at_all_is_named(tmp_path):
    bag = mcap.write(tmp_path / "bag.mcap", small(), lambda kind: None)
    info = recording_info(bag)
    assert "/tf_static, /tf, " in info.problems[0] and "no type is named (schema_id 0)" in info.problems[0]
    assert {t.name: t.count for t in info.topics}[COLOR] == FRAMES


@pytest.mark.parametrize("profile", ["ros1", ""])
@pytest.mark.parametrize("schema", [mcap.ros1_schema, lambda kind: (kind.replace("/msg/", "/"), "ros1msg", "")])
def test_ros1_in_mcap(tmp_path, schema, profile):
    assert_whole(mcap.write(tmp_path / "bag.mcap", small(), schema, "ros1", mcap.ros1, profile))


def test_chunks_whose_messages_are_not_indexed(tmp_path):
    assert_whole(mcap.write(tmp_path / "bag.mcap", small(), chunk_without_index=True))


def foxglove(message):
    """Fields of Foxglove's schema for a message of :func:`small`, and its name."""
    kind = message.__msgtype__.rpartition("/")[2]

    def moment(header):
        return {"sec": header.stamp.sec, "nsec": header.stamp.nanosec}

    def xyz(value, names="xyz"):
        return {name: getattr(value, name) for name in names}

    if kind == "TFMessage":
        (t,) = message.transforms
        place = {"translation": xyz(t.transform.translation), "rotation": xyz(t.transform.rotation, "xyzw")}
        frames = {"parent_frame_id": t.header.frame_id, "child_frame_id": t.child_frame_id}
        return "FrameTransform", {"timestamp": moment(t.header), **frames, **place}
    fields = {"timestamp": moment(message.header), "frame_id": message.header.frame_id}
    fields |= {"width": message.width, "height": message.height}
    if kind == "Image":
        return "RawImage", fields | {
            "encoding": message.encoding,
            "step": message.step,
            "data": message.data.tobytes(),
        }
    arrays = {name.upper(): getattr(message, name).tolist() for name in "dkrp"}
    return "CameraCalibration", fields | {"distortion_model": message.distortion_model} | arrays


class Foreign:
    """A message of Foxglove's; ``kind`` and ``fields`` as :func:`foxglove` gives them."""

    def __init__(self, message):
        self.kind, self.fields = foxglove(message)


def as_json(message):
    return json.dumps(message.fields, default=lambda data: base64.b64encode(data).decode()).encode()


def test_foxgloves_schemas_in_json(tmp_path):
    found = [(topic, ns, Foreign(message)) for topic, ns, message in small()]
    schema = lambda message: (f"foxglove.{message.kind}", "jsonschema", '{"type":"object"}')  # noqa: E731
    assert_whole(mcap.write(tmp_path / "bag.mcap", found, schema, "json", as_json, ""))


FIELDS = {
    "FrameTransform": "timestamp:T parent_frame_id:s child_frame_id:s translation:foxglove.Vector3"
    " rotation:foxglove.Quaternion",
    "Vector3": "x:d y:d z:d",
    "Quaternion": "x:d y:d z:d w:d",
    "RawImage": "timestamp:T frame_id:s width:u height:u encoding:s step:u data:b",
    "CameraCalibration": "timestamp:T frame_id:s width:u height:u distortion_model:s D:*d K:*d R:*d P:*d",
}


def descriptors():
    """A FileDescriptorSet with FIELDS, those that are needed last: nobody promises an order."""
    from google.protobuf import descriptor_pb2, timestamp_pb2

    kinds = {"d": 1, "u": 13, "s": 9, "b": 12}
    file = descriptor_pb2.FileDescriptorProto(name="all.proto", package="foxglove", syntax="proto3")
    file.dependency.append("google/protobuf/timestamp.proto")
    for name, text in FIELDS.items():
        made = file.message_type.add(name=name)
        for number, field in enumerate(text.split(), 1):
            label, kind = field.split(":")
            added = made.field.add(name=label, number=number, label=3 if kind[0] == "*" else 1)
            kind = kind.lstrip("*")
            if kind in kinds:
                added.type = kinds[kind]
            else:
                added.type = 11
                added.type_name = ".google.protobuf.Timestamp" if kind == "T" else f".{kind}"
    moment = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(moment)
    return descriptor_pb2.FileDescriptorSet(file=[file, moment])


def as_protobuf():
    from google.protobuf import descriptor_pool, message_factory

    pool, known = descriptor_pool.DescriptorPool(), descriptors()
    for file in reversed(known.file):
        pool.Add(file)

    def pack(message):
        kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"foxglove.{message.kind}"))
        when = message.fields["timestamp"]
        return kind(
            **message.fields | {"timestamp": {"seconds": when["sec"], "nanos": when["nsec"]}}
        ).SerializeToString()

    return pack


def protobuf_schema(message):
    return f"foxglove.{message.kind}", "protobuf", descriptors().SerializeToString()


def test_foxgloves_schemas_in_protobuf(tmp_path):
    pytest.importorskip("google.protobuf")
    found = [(topic, ns, Foreign(message)) for topic, ns, message in small()]
    assert_whole(mcap.write(tmp_path / "bag.mcap", found, protobuf_schema, "protobuf", as_protobuf(), ""))


def test_without_protobuf_it_is_said_what_to_install(tmp_path, monkeypatch):
    pytest.importorskip("google.protobuf")
    found = [(topic, ns, Foreign(message)) for topic, ns, message in small()]
    bag = mcap.write(tmp_path / "bag.mcap", found, protobuf_schema, "protobuf", as_protobuf(), "")
    monkeypatch.setitem(__import__("sys").modules, "google.protobuf", None)
    with pytest.warns(BagWarning, match=r"and 2 more: not read, it is encoded as protobuf.*pip install protobuf"):
        Recording(bag).close()


@pytest.mark.parametrize("encoding", ["json", "protobuf", "flatbuffer", "cbor", "my own"])
def test_what_cannot_be_read_is_named_and_the_rest_is_read(tmp_path, encoding):
    other = mcap.Raw(("my.Scene", "x", b"y"), encoding, b"z")
    bag = mcap.write(tmp_path / "bag.mcap", [*small(), ("/scene", START, other)])
    text = f"/scene: not read, my.Scene in '{encoding}': of json and protobuf only foxglove"
    with pytest.warns(BagWarning, match=text):
        assert_whole(bag)


def test_a_foreign_message_that_lacks_something_is_named(tmp_path):
    found = [(topic, ns, Foreign(message)) for topic, ns, message in small()]
    del found[-2][2].fields["data"]  # the last depth
    schema = lambda message: (f"foxglove.{message.kind}", "jsonschema", "{}")  # noqa: E731
    bag = mcap.write(tmp_path / "bag.mcap", found, schema, "json", as_json, "")
    assert found[-2][0] == DEPTH and found[-1][0] == INFO
    with (
        pytest.warns(
            BagWarning, match=f"a message on {DEPTH} cannot be read: foxglove.RawImage in json without 'data'"
        ),
        pytest.warns(BagWarning, match="1 frames without depth"),
    ):
        assert len(list(read_frames(bag))) == FRAMES


def test_where_nothing_can_be_read_info_says_why(tmp_path):
    found = [(topic, ns, Foreign(message)) for topic, ns, message in small()]
    for _, _, message in found:
        del message.fields["timestamp"]
    schema = lambda message: (f"foxglove.{message.kind}", "jsonschema", "{}")  # noqa: E731
    problems = recording_info(mcap.write(tmp_path / "bag.mcap", found, schema, "json", as_json, ""), 0).problems
    assert f"a message on {COLOR} cannot be read: foxglove.RawImage in json without 'timestamp'" in problems
    assert "bag.mcap has no camera" in problems[-1]


def test_a_folder_without_a_readable_file_says_what_is_wrong_with_each(tmp_path):
    folder = tmp_path / "bag"
    folder.mkdir()
    (folder / "a.mcap").write_text("nothing")
    (folder / "b.db3").touch()
    with pytest.raises(BagError, match=r"a.mcap is not read: is no recording.*; b.db3 is not read: is empty"):
        Recording(folder)
