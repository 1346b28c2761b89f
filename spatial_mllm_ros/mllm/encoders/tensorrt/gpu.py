"""Memory and a stream of a GPU, by NVIDIA's cuda-python."""

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....versions import install
from ..exported import EncodersError


def bindings() -> Any:
    """CUDA's runtime. Raises EncodersError where cuda-python is not installed."""
    try:
        from cuda.bindings import runtime  # type: ignore[import-not-found]
    except ImportError as error:
        raise EncodersError(f"TensorRT needs cuda-python: {install('cuda-python')} ({error})") from None
    return runtime


class Gpu:
    """A GPU and a stream of it.

    Args:
        index: of the GPU.
    Attributes:
        name: of the product. sm: its compute capability, like ``8.7``. processors: how many. memory: bytes.
        stream: handle.
    Raises:
        EncodersError: no cuda-python, no driver, or no such GPU.
    """

    def __init__(self, index: int = 0):
        self._cuda, self._index = bindings(), index
        try:
            count = self._ask("cudaGetDeviceCount")
            if index >= count:
                raise RuntimeError(f"no cuda:{index}, there are {count}")
            self._ask("cudaSetDevice", index)
            about = self._ask("cudaGetDeviceProperties", index)
            self.stream = int(self._ask("cudaStreamCreate"))
        except (RuntimeError, MemoryError) as error:
            old = "InsufficientDriver" in str(error)
            remedy = f" (an older one: {install('cuda-python')[:-1]}<13')" if old else ""
            raise EncodersError(f"TensorRT has no GPU here: {error}{remedy}") from None
        name = about.name
        self.name = (name.decode(errors="replace") if isinstance(name, bytes) else str(name)).rstrip("\0")
        self.sm = f"{about.major}.{about.minor}"
        self.processors, self.memory = int(about.multiProcessorCount), int(about.totalGlobalMem)

    def use(self) -> None:
        """Make it the current GPU of this thread."""
        self._ask("cudaSetDevice", self._index)

    def allocate(self, size: int) -> int:
        """Address of so many bytes, a multiple of 256. Raises MemoryError."""
        return int(self._ask("cudaMalloc", size))

    def free(self, address: int) -> None:
        """Give back what :meth:`allocate` gave."""
        self._ask("cudaFree", address)

    def upload(self, address: int, array: NDArray) -> None:
        """Copy an array, which has to stay as it is until :meth:`wait`."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._ask("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, kind, self.stream)

    def download(self, address: int, array: NDArray) -> None:
        """Fill an array."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._ask("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, kind, self.stream)
        self.wait()

    def wait(self) -> None:
        """Until all that was asked of it is done. Raises RuntimeError where that failed."""
        self._ask("cudaStreamSynchronize", self.stream)

    def _ask(self, name: str, *arguments: Any) -> Any:
        """What a function gives. Raises MemoryError, RuntimeError."""
        error, *values = getattr(self._cuda, name)(*arguments)
        if error == self._cuda.cudaError_t.cudaErrorMemoryAllocation:
            raise MemoryError(f"{name} {arguments[:1]}: out of memory of {getattr(self, 'name', 'the GPU')}")
        if error != self._cuda.cudaError_t.cudaSuccess:
            raise RuntimeError(f"CUDA failure in {name}: {getattr(error, 'name', error)}")
        return values[0] if values else None


class Buffer:
    """Memory that grows when more is asked for, and is kept until then.

    Attributes:
        address, size: of what there is, bytes.
    """

    def __init__(self, gpu: Gpu):
        self._gpu, self.address, self.size = gpu, 0, 0

    def reserve(self, size: int) -> int:
        """Address of at least so many bytes; what was there is lost where they are new. Raises MemoryError."""
        if size > self.size or not self.address:
            self.release()
            self.address, self.size = self._gpu.allocate(max(size, 1)), max(size, 1)
        return self.address

    def release(self) -> None:
        """Give it back."""
        if self.address:
            address, self.address, self.size = self.address, 0, 0
            with suppress(RuntimeError):  # a GPU that is broken has said so, and gives nothing back
                self._gpu.free(address)


class OnGpu:
    """An array in a GPU's memory, that of its buffer: the next run writes over it.

    Attributes:
        address: where it begins.
    """

    def __init__(self, gpu: Gpu, address: int, shape: tuple[int, ...], dtype: Any):
        self._gpu, self.address, self._shape, self.dtype = gpu, address, shape, np.dtype(dtype)

    def __getitem__(self, part: slice) -> "OnGpu":
        """Some of what lies along the first axis, where it lies."""
        first, last, _ = part.indices(self._shape[0])
        offset = first * int(np.prod(self._shape[1:])) * self.dtype.itemsize
        return OnGpu(self._gpu, self.address + offset, (max(0, last - first), *self._shape[1:]), self.dtype)

    def shape(self) -> tuple[int, ...]:
        """Its lengths; a function, as that of ONNX Runtime's values is."""
        return self._shape

    def numpy(self) -> NDArray:
        """A copy."""
        found = np.empty(self._shape, self.dtype)
        self._gpu.download(self.address, found)
        return found
