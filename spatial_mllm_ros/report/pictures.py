"""Frames as pictures inside the page."""

import base64

import cv2
import numpy as np

from ..frames import Frame
from ..scene.asking import picture
from ..scene.selection import jpeg

OUTLINE = (((255, 255, 255), 5), ((109, 79, 194), 2))  # colour and thickness: violet on white


def data_uri(
    frame: Frame | None,
    width: int,
    roi: tuple[float, float, float, float] | None = None,
    mark: tuple[float, float] | None = None,
) -> str:
    """The colour image as a JPEG data URI at most ``width`` pixels wide, or an empty string where there is none.

    In pixels of the image, a region (x, y, width, height) is outlined, and a point ``mark`` (u, v) circled.
    """
    if frame is None or (image := picture(frame)) is None:
        return ""
    scale = min(1.0, width / image.shape[1])
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    frame.release()
    if roi is not None:
        x, y, w, h = (round(v * scale) for v in roi)
        for colour, thickness in OUTLINE:
            cv2.rectangle(small, (x, y), (x + w, y + h), colour, thickness, cv2.LINE_AA)
    if mark is not None:
        centre = tuple(int((at + 0.5) * scale) for at in mark)
        for colour, thickness in OUTLINE:
            cv2.circle(small, centre, 7, colour, thickness, cv2.LINE_AA)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(small)).decode()
