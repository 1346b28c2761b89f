"""Recordings: read frames from any of them and write new ones; ``recordings.play`` plays."""

from .errors import BagError, BagWarning
from .images import read_images
from .info import recording_info
from .kinds import read_any
from .reader import FrameReader, read_frames
from .recording import Recording, messages
from .videos import read_video
from .writer import BagWriter

__all__ = [
    "BagError",
    "BagWarning",
    "BagWriter",
    "FrameReader",
    "Recording",
    "messages",
    "read_any",
    "read_frames",
    "read_images",
    "read_video",
    "recording_info",
]
