"""Scenes of the data engine's tests: small, picklable, and wrong in the way that is asked for."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from spatial_mllm_ros.errors import BadMessage, ErrorCode, SpatialError
from spatial_mllm_ros.frames import Frame, Pixels

from ..scenes import moving_scene, room_scene


@dataclass(frozen=True)
class RoomRef:
    """A room of 24 frames, or one of 12 with moving bodies; its content depends on the name, or on ``like``.

    Attributes:
        fault: ``unreadable`` and ``broken`` rooms raise what a source does, and does not, promise; ``fatal`` ones end
            the process, ``once`` only where the file ``mark`` is not yet there; in a ``scratched`` one a frame has a
            corrupt image from its second opening (a process of its own) on; a ``changing`` one is another each time.
    """

    name: str
    fault: str = ""
    moving: bool = False
    like: str = ""
    mark: Path = Path()
    source: str = "test"

    def open(self):
        again = self.mark.is_file()
        if self.mark.name:
            self.mark.open("a").close()
        if self.fault == "unreadable":
            raise SpatialError(ErrorCode.BAD_REQUEST, f"{self.name} is no recording")
        if self.fault == "broken":
            raise ZeroDivisionError("of something")
        if self.fault == "fatal" or (self.fault == "once" and not again):
            os._exit(9)
        key = self.like or self.name
        make = moving_scene if self.moving else room_scene
        scene = make(12, name=self.name) if self.moving else make(24, self.name)
        scene = replace(scene, key=key)
        if self.fault == "changing" and again:
            return replace(scene, key=f"{key} later")
        if self.fault == "scratched" and again:
            return replace(
                scene, frames=[scratched(frame) if i % 4 == 0 else frame for i, frame in enumerate(scene.frames)]
            )
        return scene


def scratched(frame: Frame) -> Frame:
    """The same with an image that cannot be decoded."""

    def decode():
        raise BadMessage("image data: not a PNG")

    image = Pixels(frame.camera.height, frame.camera.width, 0, decode)
    pose = frame.world_from_camera
    return Frame(frame.stamp_ns, frame.camera, image=image, depth=frame.depth, world_from_camera=pose)
