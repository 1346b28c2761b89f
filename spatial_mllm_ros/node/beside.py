"""Work that a model does beside the frames: one way for windows of frames and for questions about motion."""

from abc import ABC, abstractmethod
from threading import Event, Thread
from traceback import format_exc
from typing import Any, Generic, TypeVar

from ..mllm.process.remote import ModelProcess

RETRY = 1.0  # s between looks at a model that is not ready
Piece = TypeVar("Piece")


class Beside(ABC, Generic[Piece]):
    """A thread that looks for work whenever a frame was processed, and has it done piece by piece by a model.

    Args:
        name: of the thread, and of a piece of work where it fails.
        model: does it; it belongs to the caller.
        log: the node's logger.
    """

    def __init__(self, name: str, model: ModelProcess, log: Any):
        self._name, self._model, self._log = name, model, log
        self._arrived = Event()
        self._stopping = False
        self._thread = Thread(target=self._run, name=name)

    def start(self) -> None:
        """From now on."""
        self._thread.start()

    def look(self) -> None:
        """A frame was processed: there may be work."""
        self._arrived.set()

    def close(self) -> None:
        """After the model was closed."""
        self._stopping = True
        self._arrived.set()
        if self._thread.is_alive():
            self._thread.join()

    def refuses(self) -> str:
        """Why a model that is ready is of no use; empty where it is."""
        return ""

    @abstractmethod
    def next(self) -> Piece | None:
        """What is to be done next."""

    @abstractmethod
    def do(self, piece: Piece) -> None:
        """Has it done."""

    def _run(self) -> None:
        ready = True
        while not self._stopping:
            self._arrived.wait(None if ready else RETRY)
            self._arrived.clear()
            try:
                ready = self._model.state.stage == "ready"
                if ready and (why := self.refuses()):
                    self._log.warning(why)
                    return
                while ready and not self._stopping and (piece := self.next()):
                    self.do(piece)
            except Exception:
                self._log.error(f"{self._name} failed:\n{format_exc()}", throttle_duration_sec=10.0)
