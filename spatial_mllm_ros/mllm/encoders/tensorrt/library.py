"""TensorRT's own module, and what it says while it works."""

from functools import cache
from typing import Any

from ..exported import EncodersError

WHERE = "pip install tensorrt-cu12 or -cu13 on a workstation, apt install python3-libnvinfer on a Jetson"
KEPT = 5  # of the last warnings and errors
NO_MEMORY = ("out of memory", "outofmemory", "cudaerrormemoryallocation")  # words of TensorRT


def library() -> Any:
    """The module. Raises EncodersError where it is not installed."""
    try:
        import tensorrt  # type: ignore[import-not-found]
    except Exception as error:  # a wheel without its libraries raises what it likes
        raise EncodersError(f"TensorRT is not installed: {WHERE} ({' '.join(str(error).split())[:120]})") from None
    return tensorrt


@cache
def listener(trt: Any) -> Any:
    """A logger of TensorRT that keeps its last warnings and errors in ``said``, and prints nothing.

    One for each module: TensorRT keeps the first that it is given.
    """

    class Listener(trt.ILogger):
        def __init__(self) -> None:
            super().__init__()
            self.said: list[str] = []

        def log(self, severity: Any, msg: str) -> None:
            if severity <= trt.ILogger.WARNING:
                self.said = [*self.said, msg][-KEPT:]

        def forget(self) -> None:
            """Nothing was said: what comes is of what is done next."""
            self.said = []

        def raise_memory(self, what: str) -> None:
            """Raises MemoryError where that is what it complained of."""
            if any(sign in line.lower() for line in self.said for sign in NO_MEMORY):
                raise MemoryError(f"{what}: too little memory of the GPU: {self.last}")

        @property
        def last(self) -> str:
            """What it said last, on one line."""
            return " ".join(self.said[-1].split())[:200] if self.said else "nothing was said"

    return Listener()
