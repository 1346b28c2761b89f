"""A simulated room as a recording: the topics of a real RGB-D robot, and the truth beside them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from os import cpu_count
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..isolated import end_with_parent, spawning
from .room import BASE_FRAME, BASE_NS, WORLD_FRAME, Room

CHUNK = 4  # frames a worker renders at a time
AHEAD = 3  # chunks in work per worker; bounds what waits in memory


def simulate(
    path: str | Path,
    seed: int = 0,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **room: Any,
) -> Room:
    """Write an MCAP recording of a simulated room; it appears at ``path`` complete or not at all.

    Topics for one camera: ``/camera/color/image_raw/compressed`` (JPEG), ``/camera/depth/image_raw/compressed`` (16-bit
    PNG, millimetres, registered to colour), ``/camera/color/camera_info``, ``/camera/depth/camera_info``; with several
    cameras the same below each one's name. ``/tf`` and ``/odom`` carry the exact pose of base_link in odom,
    ``/tf_static`` the mounts, ``/objects/<name>/pose`` the exact pose of each thing, and ``/objects/markers`` their
    boxes (visible in RViz): namespace = name, text = colour and label, scale = size in metres.

    Args:
        path: a new ``.mcap`` file or bag folder.
        seed: the same seed gives the same bytes, however many workers there are.
        workers: processes that render; None is one a processor, 1 renders in this process.
        overwrite: whether what is at ``path`` may be replaced.
        progress: called with (frames done, frames in all).
        room: size, fps, duration, cameras, pushes and noise of :class:`Room`.

    Returns:
        The room that was recorded.

    Raises:
        ValueError: an argument out of range. BagError: ``path`` exists or cannot be written.
    """
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise ValueError(f"workers = {workers!r}: expected a whole number from 1")
    from ..recordings.topic import LATCHED, Topic  # here, so that rooms can be made without the recording library
    from ..recordings.writer import BagWriter
    from .messages import Messages

    made, write = Room(seed, **room), Messages()
    total = len(made) * len(made.cameras)
    with BagWriter(path, overwrite=overwrite) as bag:
        mounts = [(BASE_FRAME, c.frame_id, made.base_from_camera[c.name]) for c in made.cameras]
        bag.write("/tf_static", write.transforms(BASE_NS, mounts), BASE_NS)
        bag.add_topic(Topic("/objects/markers", "visualization_msgs/msg/MarkerArray", qos=LATCHED))
        bag.write("/objects/markers", write.markers(BASE_NS, made.objects), BASE_NS)
        for index, images in enumerate(_encoded(made, partial(Room, seed, **room), workers or cpu_count() or 1)):
            stamp = int(made.stamps[index])
            base = made.camera_path.world_from_base(stamp)
            bag.write("/tf", write.transforms(stamp, [(WORLD_FRAME, BASE_FRAME, base)]), stamp)
            bag.write("/odom", write.odometry(stamp, base), stamp)
            for thing in made.objects:
                bag.write(f"/objects/{thing.name}/pose", write.pose(stamp, thing.world_from_object(stamp)), stamp)
            for camera, (color, depth) in zip(made.cameras, images, strict=True):
                for kind, data, form in (
                    ("color", color, "rgb8; jpeg compressed bgr8"),
                    ("depth", depth, "16UC1; png compressed"),
                ):
                    bag.write(f"/{camera.name}/{kind}/camera_info", write.camera_info(stamp, camera), stamp)
                    bag.write(
                        f"/{camera.name}/{kind}/image_raw/compressed", write.image(stamp, camera, data, form), stamp
                    )
            if progress:
                progress((index + 1) * len(made.cameras), total)
    return made


Encoded = list[tuple[bytes, bytes]]
_worker_room: Room


def _encoded(room: Room, remake: Callable[[], Room], workers: int) -> Iterator[Encoded]:
    """(JPEG, PNG) of every camera, frame after frame."""
    workers = min(workers, -(-len(room) // CHUNK))
    if workers == 1:
        yield from (_encode(room, index) for index in range(len(room)))
        return
    chunks = iter([range(i, min(i + CHUNK, len(room))) for i in range(0, len(room), CHUNK)])
    with ProcessPoolExecutor(workers, spawning(), _start_worker, (remake,)) as pool:
        waiting = [pool.submit(_encode_chunk, c) for _, c in zip(range(AHEAD * workers), chunks, strict=False)]
        try:
            while waiting:
                yield from waiting.pop(0).result()
                waiting += [pool.submit(_encode_chunk, c) for _, c in zip(range(1), chunks, strict=False)]
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker(remake: Callable[[], Room]) -> None:
    global _worker_room
    cv2.setNumThreads(1)
    end_with_parent()
    _worker_room = remake()


def _encode_chunk(indices: range) -> list[Encoded]:
    return [_encode(_worker_room, index) for index in indices]


def _encode(room: Room, index: int) -> Encoded:
    out = []
    for camera in room.cameras:
        frame = room.render(index, camera.name).frame
        assert frame.image is not None and frame.depth is not None
        millimetres = np.rint(frame.depth * 1000).astype(np.uint16)
        jpeg = cv2.imencode(".jpg", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
        png = cv2.imencode(".png", millimetres, [cv2.IMWRITE_PNG_COMPRESSION, 4])[1]
        out.append((jpeg.tobytes(), png.tobytes()))
    return out
