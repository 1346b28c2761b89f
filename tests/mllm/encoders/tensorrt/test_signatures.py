"""What is used of TensorRT and of CUDA is there, under these names, and takes these arguments: doubles cannot drift.

The real ones here: TensorRT for RTX 1.7, whose Python bindings are those of TensorRT 10 and 11 in what is used, and
cuda-python. Without a GPU they can be looked at and not run.
"""

import inspect
import re

import pytest

from tests.mllm.encoders.tensorrt import doubles
from tests.mllm.encoders.tensorrt.doubles import real

PLAYED = {
    "Runtime": doubles.Runtime,
    "ICudaEngine": doubles.ICudaEngine,
    "IExecutionContext": doubles.IExecutionContext,
}
METHODS = [
    (kind, name)
    for kind, double in PLAYED.items()
    for name, member in vars(double).items()
    if inspect.isfunction(member) and not name.startswith("_")
]
NAMES = [
    "Builder.create_network",
    "Builder.create_builder_config",
    "Builder.create_optimization_profile",
    "Builder.build_serialized_network",
    "OnnxParser.parse_from_file",
    "OnnxParser.get_error",
    "OnnxParser.num_errors",
    "IOptimizationProfile.set_shape",
    "IBuilderConfig.add_optimization_profile",
    "IBuilderConfig.clear_flag",
    "IBuilderConfig.set_preview_feature",
    "IBuilderConfig.progress_monitor",
    "BuilderFlag.TF32",
    "ICudaEngine.num_io_tensors",
    "IProgressMonitor.phase_start",
    "IProgressMonitor.step_complete",
    "IProgressMonitor.phase_finish",
    "ILogger.log",
    "ILogger.WARNING",
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
    "TensorIOMode.INPUT",
    "nptype",
    "ExecutionContextAllocationStrategy.USER_MANAGED",
]


def arguments(doc: str) -> list[list[str]]:
    """Names of the arguments of each overload, as pybind11 writes them into the docstring."""
    found = re.findall(r"^(?:\d+\. )?\w+\((self: [^\n]*)\) -> ", doc, re.MULTILINE)
    return [[part.split(":")[0].strip() for part in re.split(r", (?=\w+:)", line)][1:] for line in found]


@pytest.mark.parametrize("kind, name", METHODS)
def test_a_double_takes_what_the_real_one_takes(kind, name):
    ours = list(inspect.signature(getattr(PLAYED[kind], name)).parameters)[1:]
    theirs = arguments(getattr(getattr(real, kind), name).__doc__)
    assert ours in theirs, f"{kind}.{name}{theirs}"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_used_of_tensorrt_is_there(name):
    found = real
    for part in name.split("."):
        found = getattr(found, part)


def test_only_what_is_there_is_used_of_the_played_ones():
    """No method of ours that the real ones have not."""
    for kind, double in PLAYED.items():
        public = {name for name in vars(double) if not name.startswith("_")} - {"wrong", "works", "cuda"}
        assert public <= set(dir(getattr(real, kind))), kind


CUDA = [name for name in vars(doubles.Cuda) if name.startswith("cuda") and name[4].isupper() and "_" not in name]


@pytest.mark.parametrize("name", [name for name in CUDA if name != "cudaMemcpyKind"])
def test_a_function_of_cuda_takes_what_the_real_one_takes(name):
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="no cuda-python for this machine")
    line = (getattr(runtime, name).__doc__ or "").split("\n", 1)[0]
    inside = line.partition("(")[2].rpartition(")")[0]
    theirs = [part.split(":")[0].split()[-1] for part in inside.split(",") if part.strip()]
    ours = list(inspect.signature(getattr(doubles.Cuda, name)).parameters)[1:]
    assert ours == theirs, line


def test_the_real_cuda_says_that_there_is_no_driver():
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="no cuda-python for this machine")
    error, count = runtime.cudaGetDeviceCount()
    assert isinstance(error, runtime.cudaError_t)
    assert error == runtime.cudaError_t.cudaSuccess or count is None
    for name in ("cudaSuccess", "cudaErrorMemoryAllocation"):
        assert getattr(runtime.cudaError_t, name).value == getattr(doubles.cudaError_t, name).value
    for kind in doubles.cudaMemcpyKind:
        assert getattr(runtime.cudaMemcpyKind, kind.name).value == kind.value
