"""Error codes of the interface and the exception that carries one of them to the caller."""

from collections.abc import Collection
from enum import IntEnum


class ErrorCode(IntEnum):
    """The constants of ``AskSpatial.srv``; every service and action of the node answers with one of these."""

    NONE = 0
    BAD_REQUEST = 1
    MODEL_NOT_READY = 2
    NO_FRAMES = 3
    NO_GEOMETRY = 4
    BUSY = 5
    TIMEOUT = 6
    CANCELED = 7
    FAILED = 8


class SpatialError(Exception):
    """Something a caller can act on: what was wrong and what would be right, under an interface error code."""

    def __init__(self, code: ErrorCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


def bad(text: str) -> SpatialError:
    return SpatialError(ErrorCode.BAD_REQUEST, text)


def check_cameras(cameras: Collection[str], known: Collection[str]) -> None:
    """Raises BAD_REQUEST for a camera that is not among those known."""
    for camera in cameras:
        if camera not in known:
            raise bad(f"camera '{camera[:64]}' is unknown; known are {', '.join(known)}")


def no_geometry(text: str) -> SpatialError:
    return SpatialError(ErrorCode.NO_GEOMETRY, text)


class BadMessage(ValueError):
    """A sensor message that cannot be used; the text names the field, its value and what was expected."""
