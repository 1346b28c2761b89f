"""RVL, the lossless coding that ``compressedDepth`` may have (Wilson, Fast Lossless Depth Image Compression, ISS 2017).

Runs of pixels without a reading and with one take turns; of those with one, each is the difference to the one before.
A number is made of groups of 4 bits: 3 of it, the lowest first, and one that says whether more follow.
"""

import numpy as np
from numpy.typing import NDArray

from .compiled import compiled
from .errors import BadMessage
from .image_size import MOST_DEPTH, check_size

SIZE = 8  # bytes of width and height before the coded data


def rvl_size(data: memoryview) -> tuple[int, int]:
    """Width and height of a coded image. Raises BadMessage where they cannot be."""
    if len(data) < SIZE:
        raise BadMessage(f"RVL depth of {len(data)} bytes: its size, {SIZE} bytes, is missing")
    width, height = (int(n) for n in np.frombuffer(data[:SIZE], "<i4"))
    check_size(width, height, len(data), MOST_DEPTH, "RVL depth")
    return width, height


def decode_rvl(data: memoryview) -> NDArray[np.uint16]:
    """The image, uint16 [H, W]. Raises BadMessage where the data end before it does, or a run is longer than it."""
    width, height = rvl_size(data)
    out = np.zeros(width * height, np.uint16)
    words = np.frombuffer(data[SIZE : len(data) - len(data) % 4], "<u4")
    words.flags.writeable = False  # always, so that one compilation does
    read = _decode(words, out)
    if read < out.size:
        raise BadMessage(f"RVL depth of {width}x{height}: broken or cut off after {read} of {out.size} pixels")
    return out.reshape(height, width)


@compiled(nogil=True)
def _decode(words, out):
    """Fill ``out`` where there are readings; how many pixels the data were enough for."""
    at, done, previous = 0, 0, 0
    while done < out.size:
        zeros, at = _number(words, at)
        filled, at = _number(words, at)
        if at < 0 or zeros + filled > out.size - done:
            return done
        done += zeros
        for i in range(done, done + filled):
            change, at = _number(words, at)
            if at < 0:
                return i
            previous += (change >> 1) ^ -(change & 1)
            out[i] = previous & 0xFFFF
        done += filled
    return done


@compiled(nogil=True)
def _number(words, at):
    """The number that begins with a group, and the group after it; -1: there is none. Words hold 8, highest first."""
    value = 0
    for shift in range(0, 33, 3):
        if at < 0 or at >= 8 * words.size:
            return 0, -1
        group = np.int64(words[at >> 3] >> np.uint32(28 - 4 * (at & 7))) & 15
        at += 1
        value |= (group & 7) << shift
        if group < 8:
            return value, at
    return 0, -1
