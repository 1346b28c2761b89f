"""Small files that ask for a lot: each is written by hand, and looked into by a process that may not take much.

``python -m tests.cases.hostile PATH...`` prints, as JSON, what ``info`` says of each and what it took.
"""

import base64
import json
import os
import sqlite3
import struct
import sys
import time
import warnings
from pathlib import Path

from tests.cases import mcap
from tests.cases.mcap import record, text
from tests.recordings import recordings
from tests.recordings.recordings import START, odometry, rgbd, transforms, write_ros2

GIB = 2**30
TF = "/tf", "tf2_msgs/msg/TFMessage"
IMAGE = "sensor_msgs/msg/Image"
ZEROS = base64.b64decode(  # bz2.compress(bytes(2**28)), which takes seconds
    "QlpoOTFBWSZTWQ4J4t8BX45AAMAAAAggADCATUZCoCWpCoCXMUFZJlNZDgni3wFfjkAAwAAACCAAMIBNRkKgJakKgJcxQVkmU1kOCeLfAV+OQA"
    "DAAAAIIAAwgE1GQqAlqQqAlzFBWSZTWQ4J4t8BX45AAMAAAAggADCATUZCoCWpCoCXMUFZJlNZDgni3wFfjkAAwAAACCAAMIBNRkKgJakKgJcx"
    "QVkmU1kezuTbASo/wADABAAIIAAwzAUppqqoSRsAIkjxdyRThQkGsXyvAA=="
)


def zeros_in_zstd(count, head=b""):
    """A frame of ``head`` and so many zeros: 4 bytes for 128 KiB of them (RFC 8878, 3.1.1.2: blocks of one byte)."""
    blocks, block = [], 2**17
    if head:
        blocks.append(struct.pack("<I", len(head) << 3)[:3] + head)
    for at in range(0, count, block):
        size, last = min(block, count - at), at + block >= count
        blocks.append(struct.pack("<I", last | 1 << 1 | size << 3)[:3] + b"\0")
    return b"\x28\xb5\x2f\xfd" + b"\x00\x38" + b"".join(blocks)


def chunk(body, size, compression="zstd"):
    head = struct.pack("<QQQI", START, START, size, 0) + text(compression)
    return record(0x06, head + struct.pack("<Q", len(body)) + body)


def mcap_of(path, *records):
    path.write_bytes(mcap.MAGIC + record(0x01, text("ros2") + text("")) + b"".join(records) + record(0x0F, bytes(4)))
    return path


def channel(topic="/x", kind=IMAGE, definition=b"", encoding="ros2msg", number=1):
    schema = record(0x03, struct.pack("<H", number) + text(kind) + text(encoding) + text(definition))
    return schema + record(0x04, struct.pack("<HH", number, number) + text(topic) + text("cdr") + struct.pack("<I", 0))


def message(data, ns=START, number=1):
    return record(0x05, struct.pack("<HIQQ", number, 0, ns, ns) + data)


def defined(definition, encoding, kind=IMAGE):
    """A file with one message of a type that it defines."""
    data = mcap.cdr(recordings.image(START, recordings.color_pixels(0), "rgb8"))
    return lambda folder: mcap_of(folder / "a.mcap", channel("/x", kind, definition, encoding), message(data))


def idl(body):
    return b"module sensor_msgs { module msg { " + body + b" struct Image { long a; }; }; };"


def repeated(records, size):
    """A zstd chunk with records at its beginning, as often as they fit, packed by a library."""
    if sys.version_info >= (3, 14):
        from compression.zstd import compress
    else:
        from backports.zstd import compress
    body = records * (size // len(records))
    return chunk(compress(body, 1), len(body))


def links(count):
    """A TFMessage with so many transforms; from the second one on each begins at a multiple of 8 bytes."""
    one, two = (mcap.cdr(transforms(*[(START, "odom", "base_link", (0.0, 0.0, 0.0))] * n)) for n in (1, 2))
    return one[:4] + struct.pack("<I", count) + one[8:] + two[len(one) :] * (count - 1)


def aliases(folder):
    """Metadata of a kilobyte, of which a loader that merges maps makes 9^11 pairs."""
    write_ros2(folder / "bag", rgbd(3))
    lines = ["a0: &a0 {key: value}"]
    lines += [f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 12)]
    lines += ["rosbag2_bagfile_information:", "  <<: *a11", "  relative_file_paths: [bag.mcap]"]
    (folder / "bag" / "metadata.yaml").write_text("\n".join(lines))
    return folder / "bag"


def deep_metadata(folder):
    write_ros2(folder / "bag", rgbd(3))
    (folder / "bag" / "metadata.yaml").write_text("a: " + "[" * 100_000)
    return folder / "bag"


def packed_folder(folder):
    bag = folder / "bag"
    bag.mkdir()
    (bag / "bag_0.mcap.zstd").write_bytes(zeros_in_zstd(3 * GIB // 2, mcap.MAGIC))
    known = {"version": 9, "storage_identifier": "mcap", "relative_file_paths": ["bag_0.mcap.zstd"]}
    known |= {"compression_format": "zstd", "compression_mode": "FILE"}
    (bag / "metadata.yaml").write_text(json.dumps({"rosbag2_bagfile_information": known}))
    return bag


def database(folder, *statements, page=4096):
    path = folder / "a.db3"
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA page_size = {page}")
    db.execute("CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT)")
    db.execute("INSERT INTO topics VALUES(1, '/x', 'sensor_msgs/msg/Image', 'cdr')")
    for statement in statements:
        db.execute(*statement) if isinstance(statement, tuple) else db.execute(statement)
    db.commit()
    db.close()
    return path


def view(query):
    return lambda folder: database(folder, f"CREATE VIEW messages(id, topic_id, timestamp, data) AS {query}")


COUNT = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
TABLE = "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB"


def computed(folder):
    columns = "id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data AS (zeroblob(900000000))"
    row = "INSERT INTO messages(topic_id, timestamp) VALUES(1, 5)"
    return database(folder, f"CREATE TABLE messages({columns})", row)


def shared_pages(folder):
    """A table of 10,000 rows, whose pages are named again and again by those above them: they seem to be 10^9."""
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)"
    path = database(folder, f"{TABLE})", f"{numbers} INSERT INTO messages SELECT i, 1, i, x'00' FROM n", page=512)
    data, size = bytearray(path.read_bytes()), 512
    inner = [at for at in range(size, len(data), size) if data[at] == 0x05]
    leaf = next(at for at in range(inner[0] + size, len(data), size) if data[at] == 0x0D)
    for at, below in zip(inner, [*inner[1:], leaf], strict=True):
        cells = struct.unpack_from(">H", data, at + 3)[0]
        for place in (at + 8, *(at + cell for cell in struct.unpack_from(f">{cells}H", data, at + 12))):
            struct.pack_into(">I", data, place, below // size + 1)
    path.write_bytes(data)
    return path


def packed_messages(folder):
    inserts = [(f"INSERT INTO messages VALUES({i}, 1, {i}, ?)", (zeros_in_zstd(GIB),)) for i in range(1, 5)]
    return database(folder, f"{TABLE})", *inserts)


def pipe(folder):
    bag = folder / "bag"
    bag.mkdir()
    os.mkfifo(bag / "a.mcap")
    return bag


def pipe_as_metadata(folder):
    write_ros2(folder / "bag", rgbd(3))
    (folder / "bag" / "metadata.yaml").unlink()
    os.mkfifo(folder / "bag" / "metadata.yaml")
    return folder / "bag"


def far_number(folder):
    bag = folder / "bag"
    bag.mkdir()
    for name in ("bag_0.mcap", "bag_99999999999.mcap"):
        mcap.write(bag / name, rgbd(2))
    return bag


def bag1_bomb(folder):
    """A bag with one chunk of zeros, packed with bz2."""

    def fields(**values):
        body = b"".join(struct.pack("<I", len(k) + 1 + len(v)) + k.encode() + b"=" + v for k, v in values.items())
        return struct.pack("<I", len(body)) + body

    head = fields(op=b"\x03", index_pos=bytes(8), conn_count=bytes(4), chunk_count=bytes(4)) + struct.pack("<I", 0)
    one = fields(op=b"\x05", compression=b"bz2", size=struct.pack("<I", 2**28)) + struct.pack("<I", len(ZEROS)) + ZEROS
    (folder / "a.bag").write_bytes(b"#ROSBAG V2.0\n" + head + one * 12)
    return folder / "a.bag"


def same_chunk(folder):
    """An index that names one chunk 20,000 times."""
    path = mcap.write(folder / "a.mcap", rgbd(50), chunk_without_index=True)
    data = path.read_bytes()
    start = struct.unpack_from("<Q", data, len(data) - 28)[0]
    at, entry, told = start, b"", 0
    while data[at] != 0x02:
        length = struct.unpack_from("<Q", data, at + 1)[0]
        entry, told = (data[at : at + 9 + length], told) if data[at] == 0x08 else (entry, told)
        at += 9 + length
    path.write_bytes(data[:start] + entry * 20_000 + data[start:])
    return path


def many_topics(folder):
    return mcap_of(folder / "a.mcap", *(channel(f"/t{i}", number=i) + message(b"", number=i) for i in range(1, 30_000)))


def one_schema(folder):
    """9,000 topics of one type, whose definition has 8 MB."""
    schema = record(0x03, struct.pack("<H", 1) + text("a/msg/B") + text("ros2msg") + text(b"#" * 2**23))
    topics = [
        record(0x04, struct.pack("<HH", i, 1) + text(f"/t{i}") + text("cdr") + struct.pack("<I", 0))
        for i in range(9000)
    ]
    return mcap_of(folder / "a.mcap", repeated(schema, len(schema)), *topics, message(b""))


def header_fields(folder):
    """A header of a record with 100,000 fields."""
    fields = b"".join(struct.pack("<I", 6) + b"%05d=" % i for i in range(100_000))
    bag = struct.pack("<II", 8, 4) + b"op=\x03" + bytes(4)
    path = folder / "a.bag"
    path.write_bytes(b"#ROSBAG V2.0\n" + bag + struct.pack("<I", len(fields)) + fields)
    return path


def many_cameras(folder):
    """150 topics of images, and as many of Odometry, of which the only message comes last."""
    data = mcap.cdr(recordings.image(START, recordings.color_pixels(0), "rgb8"))
    kinds = [(IMAGE, data), ("nav_msgs/msg/Odometry", mcap.cdr(odometry(START, 0.0)))] * 150
    made = [(channel(f"/t{i}", kind, number=i), message(one, number=i)) for i, (kind, one) in enumerate(kinds, 1)]
    filler = [channel("/filler", "std_msgs/msg/String", number=999), repeated(message(bytes(99), number=999), 2**24)]
    return mcap_of(folder / "a.mcap", *filler, *(a for a, _ in made), *(b for _, b in made))


def with_header(kind, fields):
    return lambda folder: mcap_of(folder / "a.mcap", channel("/x", kind, fields), message(b"\0\1\0\0" + bytes(80)))


def with_camera(folder, *records):
    """A camera whose poses come from ``records``, of which the channel has the number 1."""
    kinds = [(30, "/camera/color/image_raw"), (31, "/camera/color/camera_info")]
    found = [[(ns, m) for topic, ns, m in rgbd(9) if topic == name] for _, name in kinds]
    seen = [
        channel(name, messages[0][1].__msgtype__, number=n)
        + b"".join(message(mcap.cdr(m), ns, n) for ns, m in messages)
        for (n, name), messages in zip(kinds, found, strict=True)
    ]
    still = channel("/tf_static", TF[1], number=32) + message(mcap.cdr(rgbd(1)[0][2]), number=32)
    return mcap_of(folder / "a.mcap", still, *seen, channel(*TF), *records)


def many_links(folder):
    return with_camera(folder, repeated(message(links(1000)), 2**27))


def single_links(folder):
    return with_camera(folder, *[repeated(message(links(1)), 2**24)] * 9)


def huge_link(folder):
    one = message(links(200_000))
    return with_camera(folder, repeated(one, len(one)))


def tiny_messages(folder):
    return mcap_of(folder / "a.mcap", channel("/x", "std_msgs/msg/Empty"), *[repeated(message(b""), 2**26)] * 20)


HOSTILE = {
    "brackets in IDL": defined(idl(b"module Image_Constants { const long X = (((((1))))); };"), "ros2idl"),
    "shift in IDL": defined(idl(b"module Image_Constants { const long X = 1 << 30000000000; };"), "ros2idl"),
    "comments in IDL": defined(b"/*" * 50_000, "ros2idl"),
    "sequences in IDL": defined(idl(b"struct A { " + b"sequence<" * 40 + b"long" + b">" * 40 + b" a; };"), "ros2idl"),
    "long array": defined(b"string[300000000] x", "ros2msg"),
    "arrays of arrays": defined(
        b"A[900] a\n" + b"".join(b"=" * 80 + b"\nMSG: a/%c\n%c[900] x\n" % (65 + i, 66 + i) for i in range(9)),
        "ros2msg",
    ),
    "many fields": defined(b"".join(b"int8 a%d\n" % i for i in range(60_000)), "ros2msg"),
    "chunk of zstd": lambda folder: mcap_of(
        folder / "a.mcap", channel(), chunk(zeros_in_zstd(12 * GIB), 12 * GIB), message(b"")
    ),
    "chunk that says less": lambda folder: mcap_of(folder / "a.mcap", channel(), chunk(zeros_in_zstd(12 * GIB), 99)),
    "many chunks": lambda folder: mcap_of(folder / "a.mcap", channel(), *[chunk(zeros_in_zstd(2**27), 2**27)] * 200),
    "chunks of bz2": bag1_bomb,
    "tiny messages": tiny_messages,
    "many transforms": many_links,
    "huge TFMessage": huge_link,
    "transforms one by one": single_links,
    "aliases": aliases,
    "deep metadata": deep_metadata,
    "packed folder": packed_folder,
    "packed messages": packed_messages,
    "recursive view": view(f"{COUNT} SELECT i, 1, i, x'00' FROM n"),
    "zeros in a view": view(f"{COUNT} SELECT i, 1, i, zeroblob(900000000) FROM n"),
    "computed column": computed,
    "shared pages": shared_pages,
    "pipe": pipe,
    "pipe as metadata": pipe_as_metadata,
    "far number": far_number,
    "same chunk": same_chunk,
    "many topics": many_topics,
    "many cameras": many_cameras,
    "one schema of many topics": one_schema,
    "fields of a header": header_fields,
    "far stamps": lambda folder: mcap_of(folder / "a.mcap", channel(), *(message(b"", 2**64 - 1) for _ in range(9))),
}
"""What it is -> a function of a folder that writes it there, and gives its path."""


def look(path):
    """What ``info`` says of a path: problems, or the error and whether it is one of ours."""
    from spatial_mllm_ros.recordings import recording_info

    started, said = time.monotonic(), {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            said = {"problems": recording_info(path, seconds=0).problems}
    except Exception as error:
        said = {"error": f"{type(error).__name__}: {error}"}
    status = Path("/proc/self/status").read_text()  # ru_maxrss begins with what the parent had
    peak = int(status.partition("VmHWM:")[2].split()[0]) // 1024
    return said | {"seconds": round(time.monotonic() - started, 2), "megabytes": peak}


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(json.dumps({"path": name} | look(Path(name))), flush=True)
