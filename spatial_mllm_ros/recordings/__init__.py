"""Recordings: read frames from any of them and write new ones; ``recordings.play`` plays."""

from .errors import BagError, BagWarning
from .images import read_images
from .info import recording_info
from .reader import FrameReader, read_any, read_frames
from .recording import Recording, messages
from .topics import find_cameras
from .writer import BagWriter

__all__ = [
    "BagError",
    "BagWarning",
    "BagWriter",
    "FrameReader",
    "Recording",
    "find_cameras",
    "messages",
    "read_any",
    "read_frames",
    "read_images",
    "recording_info",
]
