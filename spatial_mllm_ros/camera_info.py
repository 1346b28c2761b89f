"""From a CameraInfo to the camera that images show: intrinsics, lens, region of interest and binning."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import BadMessage
from .frames import Camera
from .geometry.readout import Readout

POLYNOMIALS = ("plumb_bob", "rational_polynomial", "thin_prism", "brown_conrady", "radtan")
FISHEYES = ("equidistant", "fisheye", "kannala_brandt", "kannala_brandt4")
UNNAMED = ("", "none")  # coefficients are then those of plumb_bob
COUNTS = (4, 5, 8, 12, 14)  # of coefficients that OpenCV's polynomial takes: k1 k2 p1 p2 k3, k4 k5 k6, s1-s4, tilt
NOT_FLAT = ("fish", "theta", "equi", "omni", "sphere", "kannala", "fov", "mei", "ucm")
"""Parts of names of lenses that are no pinhole even where all their coefficients are 0."""


def readout_from_info(name: str, msg: Any, rectified: bool = False) -> Readout:
    """The camera of a CameraInfo, and which part of its sensor images show.

    Args:
        name: of the camera.
        rectified: images follow P, without distortion; where that is 0 they were never rectified and follow K.

    Raises:
        BadMessage: not calibrated (zeros), a distortion model that is not known, or impossible values.
    """
    k = np.array(msg.k if hasattr(msg, "k") else msg.K, np.float64).reshape(3, 3)
    d = np.array(msg.d if hasattr(msg, "d") else msg.D, np.float64).reshape(-1)
    p = np.array(msg.p if hasattr(msg, "p") else msg.P, np.float64).reshape(3, 4)
    model = str(msg.distortion_model)
    if rectified and p[0, 0] > 0:
        k, d, model = p[:, :3].copy(), np.zeros(0), "none"
    if not k.any() or not msg.width or not msg.height:
        raise BadMessage(f"camera_info of {msg.width}x{msg.height} with fx = {k[0, 0]:g}: the camera is not calibrated")
    model, d = lens(model, d)
    size, roi = (int(msg.width), int(msg.height)), msg.roi
    region = (int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height))
    try:
        camera = Camera(name, msg.header.frame_id.lstrip("/"), *size, k, model, d)
        return Readout(
            camera,
            region if region[2] and region[3] else (0, 0, *size),
            (max(1, int(msg.binning_x)), max(1, int(msg.binning_y))),
        )
    except ValueError as error:
        raise BadMessage(f"camera_info: {error}") from None


def lens(model: str, d: NDArray[np.float64]) -> tuple[str, NDArray[np.float64]]:
    """The lens model of :class:`Camera`, and its coefficients, for what drivers call theirs.

    Args:
        model: as camera_info names it. d: its coefficients [n]; zeros at the end say nothing.

    Raises:
        BadMessage: the model is not known, or does not take so many coefficients.
    """
    name = model.strip().lower().replace("-", "_").replace(" ", "_")
    last = int(np.flatnonzero(d)[-1]) + 1 if d.any() else 0
    if name in FISHEYES:
        if d.size < 4 or last > 4:
            raise BadMessage(f"camera_info: distortion model '{model}' with {d.size} coefficients: expected 4")
        return "equidistant", d[:4]
    if not d.any() and not any(part in name for part in NOT_FLAT):
        return "none", np.zeros(0)
    if name not in POLYNOMIALS + UNNAMED:
        known = ", ".join(POLYNOMIALS + FISHEYES)
        raise BadMessage(f"camera_info: distortion model '{model[:64]}' is not known; known are {known}")
    if d.size < COUNTS[0] or (d.size not in COUNTS and last > 5) or last > COUNTS[-1]:
        expected = ", ".join(map(str, COUNTS))
        raise BadMessage(f"camera_info: distortion model '{model}' with {d.size} coefficients: expected {expected}")
    count = next(count for count in COUNTS[1:] if count >= last)
    kept = np.zeros(count)
    kept[: min(count, d.size)] = d[:count]
    return "plumb_bob" if count == 5 else "rational_polynomial", kept
