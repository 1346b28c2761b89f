"""Which run of a recording a message belongs to: simulators that are reset and bags that loop go back in time."""

from collections.abc import Hashable

from ..assembler import JUMP_NS


class Runs:
    """Tells runs apart by stamps, in the order of the log.

    Where the stamps of colour images go back by more than a second, a new run begins. Other streams turn a little
    before or after, or not visibly at all: theirs is the run whose time fits.

    Attributes:
        now: number of the run that colour images are in, from 0.
    """

    def __init__(self):
        self.now = 0
        self._clock = 0  # the latest stamp of its colour images
        self._streams: dict[Hashable, tuple[int, int]] = {}  # run and latest stamp there

    def of(self, stream: Hashable, stamp: int, turning: bool = False) -> int:
        """The run of the next message of a stream; one more than ``now`` where it is ahead of colour.

        Args:
            stream: whose stamps rise within a run: a topic, or a link of TF.
            turning: whether it is one of colour images.
        """
        run, high = self._streams.get(stream, (self.now, 0))
        present = abs(stamp - self._clock) < JUMP_NS and not turning
        if present and run != self.now:
            run, high = self.now, 0
        elif 0 < stamp < high - JUMP_NS:
            run, high = run + 1, 0
        elif run < self.now and stamp < self._clock:
            run, high = self.now, 0
        if turning:
            if run > self.now:
                self.now, self._clock = run, 0
            self._clock = max(self._clock, stamp)
        self._streams[stream] = run, max(high, stamp)
        return run
