"""Pictures as everything here takes them: RGB arrays, checked before anything is done with them. Needs no torch."""

from collections.abc import Sequence

import numpy as np

from ..errors import ErrorCode, SpatialError

MAX_ASPECT = 200  # longest side over shortest

Frames = np.ndarray | Sequence[np.ndarray]


def check_frames(frames: Frames) -> list[np.ndarray]:
    """The frames of a clip one by one; SpatialError says what is wrong with the first that cannot be used."""
    listed = list(frames)
    if not listed:
        raise SpatialError(ErrorCode.NO_FRAMES, "no frames: a question needs at least one")
    for i, frame in enumerate(listed):
        shape = list(getattr(frame, "shape", ()))
        if not isinstance(frame, np.ndarray) or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            what = f"shape {shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
            raise SpatialError(ErrorCode.BAD_REQUEST, f"frame {i}: {what}; expected an RGB array [height, width, 3]")
        if frame.dtype != np.uint8:
            raise SpatialError(ErrorCode.BAD_REQUEST, f"frame {i}: {frame.dtype}; expected uint8, 0 to 255")
        if max(shape[:2]) > MAX_ASPECT * min(shape[:2]):
            raise SpatialError(
                ErrorCode.BAD_REQUEST,
                f"frame {i}: {shape[1]} x {shape[0]} pixels; expected a side at most {MAX_ASPECT} times the other",
            )
    return listed
