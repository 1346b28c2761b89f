"""A GPU made of this machine's memory, and TensorRT whose compiler is the real one and whose engines ONNX Runtime runs.

Compiling needs no GPU: builder, parser, profiles and progress are those of TensorRT for RTX. What needs one is played:
``cuda.bindings.runtime`` and TensorRT's Runtime, ICudaEngine and IExecutionContext, which read and write by address as
the real ones do. ``test_signatures`` holds all of it against the real ones.
"""

import ctypes
import os
import sys
from enum import Enum
from hashlib import sha256
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

real = pytest.importorskip("tensorrt_rtx_bindings", reason="no TensorRT-RTX wheels for this machine")

TYPES = {"tensor(float)": real.float32, "tensor(int32)": real.int32}


class cudaError_t(Enum):  # names are CUDA's
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorIllegalAddress = 700
    cudaErrorNoDevice = 100


class cudaMemcpyKind(Enum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class Cuda(ModuleType):
    """``cuda.bindings.runtime``. Attributes: held: size of each allocation by its address. free: bytes in all."""

    cudaError_t, cudaMemcpyKind = cudaError_t, cudaMemcpyKind

    def __init__(self, count: int = 1, name: str = "Test GPU", free: int = 1 << 30):
        super().__init__("cuda.bindings.runtime")
        self.count, self.name, self.free, self.processors = count, name, free, 8
        self.held: dict[int, int] = {}
        self.allocations = 0
        self._memory: dict[int, Any] = {}

    def cudaGetDeviceCount(self):
        return (cudaError_t.cudaSuccess, self.count) if self.count else (cudaError_t.cudaErrorNoDevice, 0)

    def cudaSetDevice(self, device):
        return (cudaError_t.cudaSuccess if device < self.count else cudaError_t.cudaErrorNoDevice,)

    def cudaGetDeviceProperties(self, device):
        return cudaError_t.cudaSuccess, SimpleNamespace(
            name=self.name.encode(), major=8, minor=7, multiProcessorCount=self.processors, totalGlobalMem=1 << 33
        )

    def cudaStreamCreate(self):
        return cudaError_t.cudaSuccess, 7

    def cudaStreamSynchronize(self, stream):
        return (cudaError_t.cudaSuccess,)

    def cudaMalloc(self, size):
        if sum(self.held.values()) + size > self.free:
            return cudaError_t.cudaErrorMemoryAllocation, None
        memory = ctypes.create_string_buffer(size)
        address = ctypes.addressof(memory)
        self._memory[address], self.held[address] = memory, size
        self.allocations += 1
        return cudaError_t.cudaSuccess, address

    def cudaFree(self, devPtr):
        del self._memory[devPtr], self.held[devPtr]
        return (cudaError_t.cudaSuccess,)

    def cudaMemcpyAsync(self, dst, src, count, kind, stream):
        if not self.holds(dst if kind is cudaMemcpyKind.cudaMemcpyHostToDevice else src, count):
            return (cudaError_t.cudaErrorIllegalAddress,)
        ctypes.memmove(dst, src, count)
        return (cudaError_t.cudaSuccess,)

    def holds(self, address: int, size: int) -> bool:
        """Whether so many bytes of an allocation begin there."""
        return any(begin <= address and address + size <= begin + held for begin, held in self.held.items())


def built(plan: memoryview) -> Path:
    """A file that names the ONNX file that an engine was built from, for all processes."""
    folder = Path(os.environ["XDG_CACHE_HOME"], "built")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / sha256(plan).hexdigest()


class Builder(real.Builder):
    def build_serialized_network(self, network, config):
        plan = super().build_serialized_network(network, config)
        if plan is not None:
            built(memoryview(plan)).write_text(OnnxParser.last)
        return plan


class OnnxParser(real.OnnxParser):
    last = ""

    def parse_from_file(self, model):
        OnnxParser.last = model
        return super().parse_from_file(model)


class Runtime:
    def __init__(self, logger):
        self.logger = logger

    def deserialize_cuda_engine(self, serialized_engine):
        if not (source := built(serialized_engine)).exists():
            self.logger.log(real.ILogger.ERROR, "Serialization assertion failed")
            return None
        return ICudaEngine(source.read_text())


class ICudaEngine:
    def __init__(self, file: str):
        self.session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        self.given = {value.name: value for value in self.session.get_inputs()}
        self.made = {value.name: value for value in self.session.get_outputs()}
        self.num_io_tensors = len(self.given) + len(self.made)
        self.device_memory_size_v2 = 1 << 20

    def get_tensor_name(self, index):
        return [*self.given, *self.made][index]

    def get_tensor_mode(self, name):
        return real.TensorIOMode.INPUT if name in self.given else real.TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return TYPES[(self.given | self.made)[name].type]

    def create_execution_context(self, strategy):
        assert strategy == real.ExecutionContextAllocationStrategy.USER_MANAGED
        return IExecutionContext(self)


class IExecutionContext:
    """Attributes of the class: wrong: what every output is multiplied with. works: whether it runs at all."""

    wrong, works = 1.0, True
    cuda: Cuda

    def __init__(self, engine: ICudaEngine):
        self._engine, self._shapes, self._addresses = engine, {}, {}
        self._size = 0

    def set_input_shape(self, name, shape):
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name):
        return self._run()[name].shape

    def set_tensor_address(self, name, memory):
        self._addresses[name] = memory
        return True

    def update_device_memory_size_for_shapes(self):
        self._size = 256 + sum(map(int, map(np.prod, self._shapes.values())))
        return self._size

    def set_device_memory(self, memory, size):
        assert self.cuda.holds(memory, size) and size >= self._size, "a workspace that is too small"

    def execute_async_v3(self, stream_handle):
        assert stream_handle == 7, "the default stream, or another's"
        if not self.works:
            return False
        for name, value in self._run(real_inputs=True).items():
            assert self.cuda.holds(self._addresses[name], value.nbytes), f"{name} is written where nothing is"
            value = np.ascontiguousarray(value * np.float32(self.wrong))
            ctypes.memmove(self._addresses[name], value.ctypes.data, value.nbytes)
        return True

    def _run(self, real_inputs: bool = False) -> dict[str, np.ndarray]:
        inputs = {}
        for name, shape in self._shapes.items():
            inputs[name] = np.zeros(shape, real.nptype(self._engine.get_tensor_dtype(name)))
            if real_inputs:
                assert self.cuda.holds(self._addresses[name], inputs[name].nbytes), f"{name} is read where nothing is"
                ctypes.memmove(inputs[name].ctypes.data, self._addresses[name], inputs[name].nbytes)
        return dict(zip(self._engine.made, self._engine.session.run(list(self._engine.made), inputs), strict=True))


class TensorRT(ModuleType):
    """``tensorrt``: what is not here is that of TensorRT for RTX."""

    Builder, OnnxParser, Runtime = Builder, OnnxParser, Runtime
    __version__ = "10.3.0"

    def __init__(self) -> None:
        super().__init__("tensorrt")
        self.__spec__ = ModuleSpec("tensorrt", None)

    def __getattr__(self, name: str) -> Any:
        return getattr(real, name)

    def __eq__(self, other: object) -> bool:  # for ``library.listener``: the real one listens to one logger
        return other is real or isinstance(other, TensorRT)

    def __hash__(self) -> int:
        return hash(real)


def install(patch: pytest.MonkeyPatch, cache: Path, **gpu: Any) -> Cuda:
    """Puts the doubles where the real modules would be, and engines into that folder."""
    cuda, tensorrt = Cuda(**gpu), TensorRT()
    bindings, parent = ModuleType("cuda.bindings"), ModuleType("cuda")
    bindings.runtime = cuda  # type: ignore[attr-defined]
    for name, module in {
        "cuda": parent,
        "cuda.bindings": bindings,
        "cuda.bindings.runtime": cuda,
        "tensorrt": tensorrt,
    }.items():
        patch.setitem(sys.modules, name, module)
    patch.setattr(IExecutionContext, "cuda", cuda, raising=False)
    patch.setenv("XDG_CACHE_HOME", str(cache))
    return cuda
