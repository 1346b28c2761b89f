"""Other processes of Python that import nothing from where the user stands, and know no more than they need.

``python -m`` and ``python -c`` look into the current folder first: a ``torch.py`` there would run. Python has ``-P``
against that from 3.11 on; before it, what was put in front of ``sys.path`` is taken away before anything is imported.
"""

import multiprocessing.util
import os
import sys
from collections.abc import Iterable
from multiprocessing import get_context
from multiprocessing.context import SpawnContext
from pathlib import Path
from threading import Thread

ROOT = str(Path(__file__).parents[1])  # where this package is, installed or in a checkout
SAFE = ["-P"] if sys.version_info >= (3, 11) else []
BEGIN = "import sys; sys.path[:] = [p for p in sys.path if p]; {root!r} in sys.path or sys.path.append({root!r}); "
RUN = "import runpy; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
PATHS = ("PYTHONPATH", "LD_LIBRARY_PATH")  # an empty entry is the current folder
GENERAL = (
    *(
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "LANGUAGE",
        "LC_",
        "TZ",
        "TMPDIR",
        "TEMP",
        "TMP",
        "XDG_",
        "TERM",
        "COLUMNS",
    ),
    *("PYTHON", "VIRTUAL_ENV", "CONDA_", "LD_", "GLIBC_TUNABLES", "MALLOC_", "COV_", "COVERAGE_", "CC", "CXX", "CPATH"),
    *("_ROS_WHEELS_", "ROS_", "RMW_", "RCUTILS_", "RCL_", "AMENT_", "COLCON_", "CMAKE_PREFIX_PATH", "CYCLONEDDS_"),
    *("FASTRTPS_", "FASTDDS_", "SKIP_DEFAULT_XML", "ZENOH_", "SPATIAL_MLLM_"),
)
FOR_MODELS = (
    *("CUDA", "CUBLAS_", "CUDNN_", "NVIDIA_", "NCCL_", "NV_", "TORCH", "PYTORCH_", "TRITON_", "INDUCTOR_", "ATEN_"),
    *(
        "OMP_",
        "KMP_",
        "GOMP_",
        "MKL_",
        "OPENBLAS_",
        "BLIS_",
        "NUMEXPR_",
        "NUMBA_",
        "DNNL_",
        "ONEDNN_",
        "ORT_",
        "RAYON_",
    ),
    *("HIP_", "ROCR_", "HSA_", "ROCM_", "MIOPEN_", "GPU_", "ZE_", "SYCL_", "XLA_", "JETSON_", "OPENCV_", "OPENCL_"),
    *("HF_", "HUGGING", "TRANSFORMERS_", "TOKENIZERS_", "SAFETENSORS_", "DO_NOT_TRACK"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("SSL_CERT_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
SECRET = ("_TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "API_KEY", "PRIVATE_KEY")
HUB = ("HF_", "HUGGING")


def run_code(code: str) -> list[str]:
    """The command that runs a piece of Python."""
    return [sys.executable, *SAFE, "-c", BEGIN.format(root=ROOT) + code]


def run_module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module of this package."""
    return [*run_code(RUN), name, *arguments]


def environment(names: Iterable[str] = GENERAL, hub: bool = False) -> dict[str, str]:
    """This process's environment for such a command.

    Args:
        names: beginnings of the names of what is passed on; secrets are not.
        hub: whether the process may have to download from the hub, which takes the user's token.
    """
    kept = tuple(names)
    passed = {name: value for name, value in os.environ.items() if name.startswith(kept) and not _is_secret(name, hub)}
    for name in PATHS:
        if entries := [entry for entry in passed.pop(name, "").split(os.pathsep) if entry]:
            passed[name] = os.pathsep.join(entries)
    return passed


def spawning() -> SpawnContext:
    """Of multiprocessing; what it starts begins isolated, too, and has this process's ``sys.path`` then."""
    flag = "-P" if SAFE else "-I"
    flags = multiprocessing.util._args_from_interpreter_flags  # pyright: ignore[reportAttributeAccessIssue]
    if flag not in flags():
        multiprocessing.util._args_from_interpreter_flags = lambda: [*flags(), flag]  # pyright: ignore[reportAttributeAccessIssue]
    return get_context("spawn")


def end_with_parent() -> None:
    """A worker of such a context lives no longer than who started it: else it waits for ever to be read."""
    if parent := multiprocessing.parent_process():
        Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _is_secret(name: str, hub: bool) -> bool:
    return any(word in name.upper() for word in SECRET) and not (hub and name.startswith(HUB))
