"""Frames on their way to the model's process: decoded one at a time, written into memory that both map."""

from collections.abc import Iterator
from traceback import format_exc
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import BadMessage, ErrorCode, SpatialError
from .child import Child
from .protocol import Packed
from .ticket import Ticket


def send_frames(child: Child, ticket: Ticket, number: int, log: Any) -> SpatialError | None:
    """Decode and send the frames of a job; broken ones are left out, and nothing stays decoded.

    Returns:
        Why nothing was sent, else None.
    """
    shown: list[int] = []
    broken = ""

    def images() -> Iterator[NDArray[np.uint8]]:
        nonlocal broken
        for i, frame in enumerate(ticket.frames):
            if ticket.settled:
                return
            try:
                image = frame.decoded()
            except BadMessage as error:
                broken = f"; {frame}: {error}"
                continue
            if image is not None:
                shown.append(i)
                yield image

    try:
        with Packed(images()) as packed:
            if shown and not ticket.settled:
                child.send("frames", number, shown, packed=packed)
                return None
    except Exception:  # memory for the frames cannot be had
        log.error(f"frames cannot be sent to the model:\n{format_exc()}")
        text = "the frames cannot be sent to the model; the node's log has the details"
        return SpatialError(ErrorCode.FAILED, text)
    return SpatialError(ErrorCode.NO_FRAMES, f"no frame has an image that can be decoded{broken}")
