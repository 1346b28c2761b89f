"""One target: what rewards follow."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import bad
from ..frames import Frame
from ..geometry.poses import FARTHEST
from .body import Region

CAMERA = "camera"
MAX_LABEL = 64


@dataclass(frozen=True)
class Target:
    """What rewards follow.

    Attributes:
        label: name in the rewards; ``camera`` is the camera itself.
        camera: which one, or whose image the region is in; empty means the first.
        roi: x, y, width, height in pixels; not used for ``camera``.
        stamp_ns: moment of the reference, 0 for any: the node takes the frame nearest to it, or the latest; in a
            recording it is the first frame from there on that has what it takes.
        goal: x, y, z in metres, world frame, to reward approach; None rewards distance.
    """

    label: str
    camera: str = ""
    roi: Region | None = None
    stamp_ns: int = 0
    goal: tuple[float, float, float] | None = None

    def checked(self, cameras: Sequence[str], measures: bool) -> "Target":
        """The same with the name of its camera, one of ``cameras``.

        Args:
            measures: by depth and poses; without, the model alone is asked.
        Raises:
            SpatialError: BAD_REQUEST where it cannot be followed whatever the frames show.
        """
        label, roi, goal, wrong = self.label, self.roi, self.goal, ""
        if not 0 < len(label) <= MAX_LABEL:
            wrong = f"label of {len(label)} characters: expected 1 to {MAX_LABEL}"
        elif self.camera and self.camera not in cameras:
            wrong = f"no camera '{self.camera[:MAX_LABEL]}'; there are {', '.join(cameras)}"
        elif label != CAMERA and (roi is None or not (roi[2] >= 1 and roi[3] >= 1)):
            wrong = f"expected a region with a width and height of at least 1 pixel, or the label '{CAMERA}'"
        elif goal is not None and len(goal) != 3:
            wrong = f"goal of {len(goal)} numbers: expected x, y, z in metres, world frame"
        elif goal is not None and not all(abs(x) <= FARTHEST for x in goal):
            wrong = f"goal is not finite or too far: expected x, y, z in metres, world frame, {FARTHEST:g} at most"
        elif goal is not None and not measures:
            wrong = "a goal needs motion.source geometry or both: a model is asked how far, not where to"
        if wrong:
            raise bad(f"target '{label[:MAX_LABEL]}': {wrong}")
        return replace(self, camera=self.camera or cameras[0], roi=None if label == CAMERA else roi)

    def begins(self, frame: Frame, measures: bool) -> bool:
        """Whether it can begin in this frame; ``measures`` as in :meth:`checked`."""
        measurable = frame.has_depth and frame.world_from_camera is not None
        usable = self.roi is None or (frame.has_image and (measurable or not measures))
        return usable and frame.camera.name == self.camera and frame.stamp_ns >= self.stamp_ns
