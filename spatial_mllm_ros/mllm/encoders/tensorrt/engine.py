"""An engine, ready to run: ``execute_async_v3`` on buffers that are kept while shapes stay the same."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..exported import EncodersError, check_shapes, shape_of
from .gpu import Buffer, Gpu, OnGpu


class Engine:
    """One file's engine.

    Args:
        trt, log: see ``library``. file: the ONNX file. plan: the engine, serialised. profiles: of each input.
        workspace: what engines that run one after the other share.
    Attributes:
        provider: what runs it.
    Raises:
        EncodersError: TensorRT does not take it, or it has other inputs. MemoryError: too little.
    """

    provider = "tensorrt"

    def __init__(self, trt: Any, log: Any, gpu: Gpu, file: Path, plan: Any, profiles: Mapping, workspace: Buffer):
        self._gpu, self._file, self._profiles, self._workspace, self._log = gpu, file, profiles, workspace, log
        gpu.use()
        self._runtime = trt.Runtime(log)
        log.forget()
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            log.raise_memory(file.name)
            raise EncodersError(f"TensorRT does not take the engine of {file.name}: {log.last}")
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self._inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        if set(self._inputs) != set(profiles):
            raise EncodersError(f"the engine of {file.name} has other inputs than encoders.json says")
        self._types = {name: np.dtype(trt.nptype(self._engine.get_tensor_dtype(name))) for name in names}
        self._buffers = {name: Buffer(gpu) for name in names}
        self._context = self._engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if self._context is None:
            log.raise_memory(file.name)
            raise EncodersError(f"TensorRT gives no context for {file.name}: {log.last}")
        self._bound: tuple = ()
        self._outputs: dict[str, OnGpu] = {}
        self._needed = 0

    def run(self, inputs: Mapping[str, Any]) -> dict[str, OnGpu]:
        """Outputs by name, which the next run writes over.

        Args:
            inputs: arrays, or what an engine of this GPU gave.
        Raises:
            EncodersError: sizes that the file was not exported for. MemoryError: too little. RuntimeError: it failed.
        """
        given = {name: shape_of(inputs[name]) for name in self._inputs}
        bound = tuple(given.values())
        self._gpu.use()
        if bound != self._bound:
            check_shapes(self._file.name, self._profiles, given)
            self._bind(given)
            self._bound = bound
        staying = []  # until the stream has read them
        for name in self._inputs:
            value = inputs[name]
            if not isinstance(value, OnGpu):
                array = np.ascontiguousarray(
                    value if isinstance(value, np.ndarray) else value.numpy(), self._types[name]
                )
                staying.append(array)
                address = self._buffers[name].reserve(array.nbytes)
                self._gpu.upload(address, array)
            else:
                address = value.address
            self._context.set_tensor_address(name, address)
        self._context.set_device_memory(self._workspace.reserve(self._needed), self._workspace.size)
        self._log.forget()
        done = self._context.execute_async_v3(self._gpu.stream)
        self._gpu.wait()
        if not done:
            self._log.raise_memory(self._file.name)
            raise RuntimeError(f"{self._file.name}: TensorRT could not run it: {self._log.last}")
        return dict(self._outputs)

    def forget(self) -> None:
        """Let go of the buffers."""
        self._bound, self._outputs = (), {}
        for buffer in (*self._buffers.values(), self._workspace):
            buffer.release()

    def _bind(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Prepare for inputs of these shapes."""
        self._bound = ()
        for name in self._inputs:
            if not self._context.set_input_shape(name, shapes[name]):
                raise RuntimeError(f"{self._file.name}: TensorRT takes no {name} of {shapes[name]}: {self._log.last}")
        self._outputs = {}
        for name in self._types.keys() - set(self._inputs):
            shape, dtype = tuple(self._context.get_tensor_shape(name)), self._types[name]
            buffer = self._buffers[name]
            buffer.reserve(int(np.prod(shape)) * dtype.itemsize)
            self._outputs[name] = OnGpu(self._gpu, buffer.address, shape, dtype)
            self._context.set_tensor_address(name, buffer.address)
        self._needed = int(self._context.update_device_memory_size_for_shapes())
        if not self._needed and self._engine.device_memory_size_v2:  # 0 is also how it fails
            raise RuntimeError(f"{self._file.name}: TensorRT does not say what memory it needs: {self._log.last}")
