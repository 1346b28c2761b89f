"""One frame as an operator wants to see it: what is covered, what is followed, and whether it was selected."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from ..frames import Frame
from ..geometry.cameras import project
from ..geometry.poses import inverse, transform
from ..motion.record import State
from ..motion.targets import GEOMETRY
from ..scene.pipeline import SpatialPipeline

COVERED, FOLLOWED, LOST = (41, 161, 153), (255, 214, 10), (230, 57, 70)  # RGB
FONT, INK, PAPER = cv2.FONT_HERSHEY_SIMPLEX, (255, 255, 255), (0, 0, 0)
LINE = 18  # px between lines of text in an image of 640 pixels
BORDER = 4  # px around an image that was selected


@dataclass(frozen=True)
class Followed:
    """A target in the image.

    Attributes:
        label: its name.
        text: what is known of it, such as how far it moved.
        lost: it is not seen now.
        points: those that are tracked, float [N, 2] pixels of the colour image.
    """

    label: str
    text: str
    lost: bool
    points: NDArray = field(default_factory=lambda: np.zeros((0, 2)))


def debug_image(
    frame: Frame,
    covered: NDArray,
    voxel_size: float,
    caption: str = "",
    selected: bool = False,
    followed: Sequence[Followed] = (),
) -> NDArray[np.uint8] | None:
    """The frame's picture, drawn upon: uint8 [H, W, 3] RGB, for the caller; None without one.

    Args:
        covered: centres of the covered voxels, [V, 3] metres in the world frame.
        voxel_size: their edge, metres; what lies farther behind the depth that was measured is hidden.
        caption: a line at the lower edge.
        selected: the frame is one of the selected ones, and gets a border.
    Raises:
        BadMessage: its bytes are broken.
    """
    image = frame.decoded()
    if image is None:
        return None
    canvas = image.copy()
    scale = max(canvas.shape[1] / 640, 0.5)
    for u, v in visible(frame, covered, voxel_size):
        cv2.circle(canvas, (int(u), int(v)), max(1, round(2 * scale)), COVERED, -1, cv2.LINE_AA)
    for line, target in enumerate(followed):
        colour = LOST if target.lost else FOLLOWED
        points = np.asarray(target.points).round().astype(np.int32)
        if len(points):
            x, y, w, h = cv2.boundingRect(points)
            cv2.rectangle(canvas, (x - 1, y - 1), (x + w, y + h), colour, max(1, round(scale)))
        for u, v in points.tolist():
            cv2.drawMarker(canvas, (u, v), colour, cv2.MARKER_CROSS, round(8 * scale), max(1, round(scale)))
        write(canvas, f"{target.label}: {target.text}", (6, round(LINE * scale * (line + 1))), colour, scale)
    if caption:
        write(canvas, caption, (6, canvas.shape[0] - round(LINE * scale / 2)), INK, scale)
    if selected:
        edge = round(BORDER * scale)
        cv2.rectangle(
            canvas, (edge // 2, edge // 2), tuple(n - 1 - edge // 2 for n in canvas.shape[1::-1]), COVERED, edge
        )
    return np.asarray(canvas, np.uint8)


def followed(pipeline: SpatialPipeline, camera: str) -> list[Followed]:
    """The targets in a camera's image that geometry follows, or has lost."""
    seen, found = pipeline.targets_seen(), []
    for series in pipeline.target_series():
        target, label = series.target, series.target.label
        if target.camera == camera and series.source == GEOMETRY:
            lost = series.state in (State.LOST, State.GIVEN_UP)
            text = series.reason if lost else f"{series.path_length:.2f} m travelled"
            points = seen[label].pixels if label in seen else np.zeros((0, 2))
            found.append(Followed(label, text, lost, points))
    return found


def visible(frame: Frame, points: NDArray, tolerance: float) -> NDArray[np.float64]:
    """Pixels of the points of the world that this frame sees, float64 [N, 2]; none where its pose is not known.

    Args:
        points: [V, 3] metres, world frame.
        tolerance: metres behind the measured depth up to which a point is not hidden.
    """
    if frame.world_from_camera is None or not len(points):
        return np.zeros((0, 2))
    seen = transform(inverse(frame.world_from_camera), points)
    pixels, inside = project(frame.camera, seen)
    pixels, z = pixels[inside], seen[inside, 2]
    if (depth := frame.depth) is not None:
        height, width = depth.shape
        to_depth = np.array([width / frame.camera.width, height / frame.camera.height])
        u, v = np.floor((pixels + 0.5) * to_depth).astype(int).T  # the depth pixel that holds it
        measured = depth[v.clip(0, height - 1), u.clip(0, width - 1)]
        pixels = pixels[z <= np.where(measured > 0, measured, np.inf) + tolerance]
    return pixels


def write(canvas: NDArray, text: str, at: tuple[int, int], colour: tuple[int, int, int], scale: float) -> None:
    """A line that can be read on any background. OpenCV draws ASCII only."""
    text, (x, y) = text.encode("ascii", "replace").decode(), at
    # An outline of offsets: a thicker pen would write wider.
    for dx, dy, ink in ((1, 1, PAPER), (-1, 1, PAPER), (1, -1, PAPER), (-1, -1, PAPER), (0, 0, colour)):
        cv2.putText(canvas, text, (x + dx, y + dy), FONT, 0.45 * scale, ink, max(1, round(scale)), cv2.LINE_AA)
