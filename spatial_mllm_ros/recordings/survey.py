"""Whether cameras that no transform moves stand still, looked at before a recording's frames are given."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from ..frames import Frame
from ..geometry.still_view import Glance, moved
from ..geometry.transform_buffer import TransformBuffer

GLANCES = 16  # at each camera, spread over the recording
OFTEN = 0.2  # of them, from which on a camera has moved
ENOUGH = 0.25  # of the recording; a camera without any pose by then is not waited for


def moved_cameras(
    frames: Iterable[Frame],
    images: Mapping[str, int],
    world: str,
    transforms: TransformBuffer,
    whole: Callable[[], TransformBuffer],
) -> dict[str, bool]:
    """Cameras that transforms move: False; that nothing moves while what they see moves: True. Others are neither.

    A few glances do not count, when something stands before the camera.

    Args:
        frames: in order of time, with poses by transforms alone; no more are taken than it needs.
        images: number of images of each camera.
        world: the fixed frame. transforms: those that are known for the frames so far.
        whole: gives those of the whole recording, also after the frames.
    """
    found: dict[str, bool] = {}
    first: dict[str, Glance] = {}
    optical: dict[str, str] = {}
    count, looks, off = Counter[str](), Counter[str](), Counter[str]()
    for number, frame in enumerate(frames):
        name = frame.camera.name
        if name not in found and frame.world_from_camera is not None:
            optical[name] = frame.camera.frame_id
            if transforms.moves(world, optical[name]):
                found[name] = False
            elif count[name] % -(-images[name] // GLANCES) == 0:
                glance = Glance.of(frame)
                looks[name] += 1
                off[name] += moved(first.setdefault(name, glance), glance) is True
                frame.release()
            count[name] += 1
        wanted = images if number < ENOUGH * sum(images.values()) else optical
        if wanted.keys() <= found.keys():
            break
    away = [name for name in images if name not in found and off[name] >= max(1, OFTEN * looks[name])]
    if away:
        known = whole()
        found |= {name: not known.moves(world, optical[name]) for name in away}
    return found
