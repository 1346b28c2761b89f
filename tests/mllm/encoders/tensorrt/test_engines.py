"""Engines: built by the real compiler, run by doubles, kept by key; and what becomes of those that cannot be used."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from spatial_mllm_ros import doctor
from spatial_mllm_ros.cli import app
from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.mllm.encoders import compare
from spatial_mllm_ros.mllm.encoders.exported import read_exported
from spatial_mllm_ros.mllm.encoders.files import FileEncoders, engines_of
from spatial_mllm_ros.mllm.encoders.tensorrt import build, engine, engines, kept, library
from tests.mllm.encoders.tensorrt import doubles, folder

FILES = ("spatial", "geometry", "visual", "connector")
GPU: Any = SimpleNamespace(name="Test GPU", sm="8.7", processors=8, memory=1 << 33)


@pytest.fixture
def exported(tmp_path):
    return read_exported(folder.write(tmp_path / "encoders"))


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cuda(monkeypatch, cache):
    return doubles.install(monkeypatch, cache)


@pytest.fixture
def builds(monkeypatch) -> list[str]:
    """Names of the files that are built from now on."""
    names: list[str] = []

    def noted(trt, log, file, *rest):
        names.append(file.name)
        return build.build(trt, log, file, *rest)

    monkeypatch.setattr(engines, "build", noted)
    return names


def seen(encoders: FileEncoders, frames: int, rows: int, columns: int, seed: int = 0) -> list[np.ndarray]:
    """What the encoders give for noise: depth, confidence, cameras, tokens, and fused ones of pairs of frames."""
    noise = np.random.default_rng(seed)
    images = noise.random((frames, 3, 14 * rows, 14 * columns), np.float32)
    found = [*encoders.heads(images), encoders.tokens(images)]
    if frames % 2 == 0:
        grid = frames // 2, rows, columns
        visual = encoders.visual(noise.standard_normal((np.prod(grid), 1176), np.float32), grid)
        found += [visual, encoders.connect(visual, encoders.tokens(images), grid)]
    return found


def by_cpu(exported) -> FileEncoders:
    return FileEncoders(exported, "cpu")


def kept_in(exported) -> Path:
    return kept.folder_of(exported)


def the(exported, name: str, suffix: str) -> Path:
    """The only engine of a file, or its note."""
    (path,) = kept_in(exported).glob(f"{name}.*.{suffix}")
    return path


def noted(exported, name: str) -> dict:
    return json.loads(the(exported, name, "json").read_text())


def test_engines_give_what_their_files_give(exported, cuda, builds):
    """In turns of size, more frames than are shown at once, and again."""
    encoders, reference = FileEncoders(exported, "tensorrt"), by_cpu(exported)
    assert sorted(builds) == sorted(f"{name}.onnx" for name in FILES)
    for clip in [(4, 6, 8), (4, 6, 8), (1, 4, 4), (16, 8, 10), (4, 6, 8), (3, 5, 7)]:
        for found, expected in zip(seen(encoders, *clip), seen(reference, *clip), strict=True):
            assert np.array_equal(found, expected)
    assert encoders.way == "tensorrt" and encoders.load("spatial").provider == "tensorrt"
    assert encoders.said.startswith("TensorRT 10.3.0 on Test GPU (engines: spatial ") and ", fp32" in encoders.said
    assert "spatial.engine was built in" in encoders.said


def test_buffers_are_used_again_and_given_back(exported, cuda):
    encoders = FileEncoders(exported, "tensorrt")
    seen(encoders, 4, 6, 8)
    before = cuda.allocations
    for seed in range(3):
        seen(encoders, 4, 6, 8, seed)
    seen(encoders, 2, 4, 4)  # smaller: fits
    assert cuda.allocations == before
    encoders.forget()
    assert not cuda.held
    assert np.array_equal(seen(encoders, 4, 6, 8)[0], seen(by_cpu(exported), 4, 6, 8)[0])


def test_engines_share_one_workspace(exported, cuda, monkeypatch):
    """The largest that any of them needs, and no more."""
    needs, given = [], []
    real = doubles.IExecutionContext.update_device_memory_size_for_shapes
    monkeypatch.setattr(
        doubles.IExecutionContext,
        "update_device_memory_size_for_shapes",
        lambda self: needs.append(real(self)) or needs[-1],
    )
    monkeypatch.setattr(
        doubles.IExecutionContext, "set_device_memory", lambda self, memory, size: given.append((memory, size))
    )
    encoders = FileEncoders(exported, "tensorrt")
    encoders.forget()
    needs.clear(), given.clear()
    seen(encoders, 4, 6, 8)
    seen(encoders, 4, 6, 8)
    assert len({memory for memory, _ in given[len(given) // 2 :]}) == 1
    assert given[-1][1] == max(needs)


def test_sizes_outside_of_the_profiles_are_said_with_the_range(exported, cuda):
    encoders = FileEncoders(exported, "tensorrt")
    with pytest.raises(SpatialError, match="images of 1 to 16 x 3 x 56 to 112 x 56 to 140, not for 17 x 3 x 56 x 56"):
        encoders.heads(np.zeros((17, 3, 56, 56), np.float32))
    assert len(seen(encoders, 4, 6, 8)) == 6


def test_what_is_there_is_not_built_again(exported, cuda, builds, monkeypatch):
    FileEncoders(exported, "tensorrt")
    builds.clear()
    monkeypatch.setattr(compare, "sizes", lambda encoders: pytest.fail("compared again"))
    again = FileEncoders(exported)  # auto
    assert again.way == "tensorrt" and not builds and "built" not in again.said


def retrained(place, monkeypatch):
    folder.write(place, seed=1)


def another_grid(place, monkeypatch):
    folder.write(place, most=(16, 8, 12))


def another_version(place, monkeypatch):
    monkeypatch.setattr(doubles.TensorRT, "__version__", "10.7.0")


def another_gpu(place, monkeypatch):
    monkeypatch.setattr(sys.modules["cuda.bindings.runtime"], "name", "Other GPU")


CHANGES = {
    retrained: "spatial.engine is built again: the weights or the graph changed since it was built",
    another_grid: "visual.engine is built again: the profiles changed since it was built",
    another_version: "visual.engine is built again: TensorRT changed since it was built",
    another_gpu: "visual.engine is built again: the GPU changed since it was built",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_stale_or_foreign_engine_is_built_again_and_that_is_said(exported, cuda, builds, monkeypatch, change):
    first = FileEncoders(exported, "tensorrt")
    builds.clear()
    change(exported.folder, monkeypatch)
    again = read_exported(exported.folder)
    encoders = FileEncoders(again)
    assert CHANGES[change] in encoders.said and builds
    assert first.said.partition("(")[2] != encoders.said.partition("(")[2]
    expected = seen(by_cpu(again), 4, 6, 8)
    assert all(np.array_equal(a, b) for a, b in zip(seen(encoders, 4, 6, 8), expected, strict=True))


def test_another_precision_is_another_key(exported):
    of = ("spatial.onnx", "10.3.0", GPU)
    key = kept.key_of(exported, *of)
    folder.write(exported.folder, precision="fp16")
    other = kept.key_of(read_exported(exported.folder), *of)
    assert {name for name in key if key[name] != other[name]} == {"precision"}
    assert len(key["onnx"]) == 64 and key["sm"] == "8.7" and key["processors"] == 8


def test_weights_beside_the_file_count(exported):
    of = ("spatial.onnx", "10.3.0", GPU)
    key = kept.key_of(exported, *of)
    (exported.folder / "spatial.onnx.data").write_bytes(b"weights")
    assert kept.key_of(exported, *of)["onnx"] != key["onnx"]


def test_a_damaged_engine_falls_back_and_is_built_again_when_asked(exported, cuda, builds):
    FileEncoders(exported, "tensorrt")
    path = the(exported, "geometry", "engine")
    path.write_bytes(path.read_bytes()[:-1])
    builds.clear()
    encoders = FileEncoders(exported)
    assert encoders.way == "cpu" and not builds
    assert (
        "not by TensorRT, geometry.engine is damaged: spatial-mllm export --tensorrt builds it again" in encoders.said
    )
    assert len(seen(encoders, 4, 6, 8)) == 6
    said = engines_of(exported).remarks
    assert builds == ["geometry.onnx"] and len(said) == 1 and said[0].startswith("geometry.engine was built in")
    assert FileEncoders(exported).way == "tensorrt"


def test_an_engine_that_tensorrt_does_not_take_falls_back(exported, cuda, cache):
    FileEncoders(exported, "tensorrt")
    shutil.rmtree(cache / "built")
    encoders = FileEncoders(exported)
    assert encoders.way == "cpu"
    assert "TensorRT does not take the engine of spatial.onnx: Serialization assertion failed" in encoders.said


@pytest.mark.parametrize("wrong", [1.01, np.nan])
def test_an_engine_that_is_off_is_refused_once_and_for_all(exported, cuda, builds, monkeypatch, wrong):
    monkeypatch.setattr(doubles.IExecutionContext, "wrong", wrong)
    encoders = FileEncoders(exported, "tensorrt")
    apart = "0.01" if wrong > 1 else "inf"
    assert encoders.way == "cpu" and f"engine is {apart}" in encoders.said and "from ONNX Runtime" in encoders.said
    assert not cuda.held
    about = noted(exported, "spatial")
    assert about["difference"] == pytest.approx(0.01, rel=1e-4) if wrong > 1 else about["difference"] == np.inf
    builds.clear()
    monkeypatch.setattr(doubles.IExecutionContext, "wrong", 1.0)
    assert FileEncoders(exported).way == "cpu" and not builds
    assert engines_of(exported).remarks and FileEncoders(exported).way == "tensorrt"


def test_an_engine_within_rounding_is_taken(exported, cuda, monkeypatch):
    monkeypatch.setattr(doubles.IExecutionContext, "wrong", 1.0001)
    assert FileEncoders(exported, "tensorrt").way == "tensorrt"
    about = noted(exported, "visual")
    assert about["difference"] == pytest.approx(1e-4, rel=1e-2)


def test_an_engine_that_does_not_run_falls_back(exported, cuda, monkeypatch):
    monkeypatch.setattr(doubles.IExecutionContext, "works", False)
    encoders = FileEncoders(exported, "tensorrt")
    assert encoders.way == "cpu" and "TensorRT could not run it" in encoders.said


def test_too_little_memory_is_said_as_such(exported, cuda):
    encoders = FileEncoders(exported, "tensorrt")
    encoders.forget()
    cuda.free = 1000
    with pytest.raises(MemoryError, match="out of memory of Test GPU"):
        seen(encoders, 4, 6, 8)
    cuda.free = 1 << 30
    assert len(seen(encoders, 4, 6, 8)) == 6


def test_no_space_for_the_engine(exported, cuda, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    encoders = FileEncoders(exported, "tensorrt")
    monkeypatch.undo()
    assert encoders.way == "cpu"
    assert "spatial.engine of" in encoders.said and "cannot be kept: No space left on device" in encoders.said
    assert not list(kept_in(exported).glob("*.engine"))


def test_each_file_is_compared_whatever_else_is_new(exported, cuda, monkeypatch):
    """The connector alone, and the aggregator beside the 2D encoder; with one frame, three, or NaN."""
    FileEncoders(exported, "tensorrt")
    for names in (["connector"], ["spatial", "visual"], ["geometry"], ["visual"]):
        for name in names:
            the(exported, name, "engine").write_bytes(b"")
        monkeypatch.setattr(doubles.IExecutionContext, "wrong", 1.5)
        with pytest.raises(SpatialError, match=r"is 0\.5 from ONNX Runtime"):
            engines_of(exported)
        monkeypatch.setattr(doubles.IExecutionContext, "wrong", 1.0)
        engines_of(exported)
        assert all(noted(exported, name)["difference"] < 1e-6 for name in names)


@pytest.mark.long
@pytest.mark.parametrize("least, most", [(3, 16), (1, 1), (3, 3), (2, 6)])
def test_each_file_is_compared_for_any_number_of_frames(tmp_path, cuda, monkeypatch, least, most):
    place = folder.write(tmp_path / "encoders", most=(most, 8, 10), least=least)
    monkeypatch.setattr(doubles.IExecutionContext, "wrong", 1.5)
    with pytest.raises(SpatialError, match=r"is 0\.5 from ONNX Runtime"):
        engines_of(exported := read_exported(place))
    for name in ("spatial", "geometry", "visual", "connector"):
        assert noted(exported, name).get("difference", 0.5) == pytest.approx(0.5, rel=1e-4)


def test_relative_l2():
    assert compare.relative_l2([3.0, 4.0], [3.0, 4.5]) == pytest.approx(0.5 / np.hypot(3, 4.5))
    for found, expected in (([np.nan, 1], [1, 1]), ([1, 1], [np.inf, 1]), ([1, 1], [0, 0]), ([np.nan], [np.nan])):
        assert compare.relative_l2(found, expected) == np.inf


@pytest.mark.parametrize("error", [TypeError("factory function returned nullptr"), OSError(28, "No space"), KeyError()])
def test_whatever_nvidias_libraries_raise_falls_back(exported, cuda, monkeypatch, error):
    FileEncoders(exported, "tensorrt")

    def fail(self, *_):
        raise error

    monkeypatch.setattr(doubles.Runtime, "__init__", fail)
    encoders = FileEncoders(exported)
    assert encoders.way == "cpu" and f"not by TensorRT, {type(error).__name__}" in encoders.said
    assert len(seen(encoders, 4, 6, 8)) == 6


def test_a_broken_gpu_falls_back_with_the_first_reason(exported, cuda, monkeypatch):
    monkeypatch.setattr(type(cuda), "cudaStreamSynchronize", lambda *_: (doubles.cudaError_t.cudaErrorIllegalAddress,))
    monkeypatch.setattr(type(cuda), "cudaFree", lambda *_: (doubles.cudaError_t.cudaErrorIllegalAddress,))
    encoders = FileEncoders(exported, "tensorrt")
    assert encoders.way == "cpu"
    assert "CUDA failure in cudaStreamSynchronize: cudaErrorIllegalAddress" in encoders.said


@pytest.mark.long
def test_an_engine_that_ends_the_process_is_not_tried_for_ever(exported, process, cuda, builds):
    for _ in range(2):
        child = process("dies")
        child.communicate()
        assert child.returncode == 9
    assert noted(exported, "spatial")["tries"] == 2
    builds.clear()
    encoders = FileEncoders(exported)
    assert encoders.way == "cpu" and "spatial.engine ended the process 2 times: not used" in encoders.said
    assert engines_of(exported).files and builds == ["spatial.onnx"]
    assert noted(exported, "spatial")["tries"] == 0


def test_a_file_that_cannot_be_built_is_not_tried_at_every_start(exported, cuda, builds):
    good = (exported.folder / "visual.onnx").read_bytes()
    (exported.folder / "visual.onnx").write_bytes(b"no onnx")
    first, second = FileEncoders(exported, "tensorrt"), FileEncoders(exported, "tensorrt")
    assert builds.count("visual.onnx") == 1
    assert "does not take visual.onnx" in first.said and "tried before" in second.said
    (exported.folder / "visual.onnx").write_bytes(good)
    assert FileEncoders(exported, "tensorrt").way == "tensorrt"


def test_gpus_that_share_a_folder_keep_an_engine_each(exported, cuda, builds):
    """Also of one name, as Orin's are."""
    FileEncoders(exported, "tensorrt")
    cuda.processors = 16
    FileEncoders(exported, "tensorrt")
    builds.clear()
    for cuda.processors in (8, 16, 8):
        assert FileEncoders(exported).way == "tensorrt"
    assert not builds and len(list(kept_in(exported).glob("*.engine"))) == 8
    folder.write(exported.folder, seed=1)  # of the GPU at hand the old ones go
    FileEncoders(read_exported(exported.folder), "tensorrt")
    assert len(list(kept_in(exported).glob("spatial.*.engine"))) == 2


def test_engines_that_fit_are_used_from_a_folder_that_is_read_only(exported, cuda, monkeypatch):
    FileEncoders(exported, "tensorrt")
    monkeypatch.setattr(kept.Kept, "alone", lambda *_: pytest.fail("a lock was taken"))
    assert FileEncoders(exported).way == "tensorrt"


def test_only_the_files_that_are_used_are_built(exported, cuda, builds):
    encoders = FileEncoders(exported, "tensorrt", names=("spatial.onnx", "geometry.onnx"))
    assert builds == ["spatial.onnx", "geometry.onnx"] and encoders.heads(np.zeros((2, 3, 56, 56), np.float32))


def test_no_folder_for_engines(exported, cuda, cache):
    cache.write_text("a file")
    encoders = FileEncoders(exported, "tensorrt")
    assert encoders.way == "cpu" and "engines cannot be kept" in encoders.said


def test_engines_that_others_could_have_written_are_not_run(exported, cuda):
    FileEncoders(exported, "tensorrt")
    kept_in(exported).chmod(0o777)
    encoders = FileEncoders(exported)
    assert encoders.way == "cpu" and "others could have written them" in encoders.said


def test_an_engine_in_the_folder_of_the_export_is_not_looked_at(exported, cuda, builds):
    """It may come from anyone."""
    FileEncoders(exported, "tensorrt")
    for path in kept_in(exported).iterdir():
        path.rename(exported.folder / path.name)
    builds.clear()
    assert FileEncoders(exported).way == "cpu" and not builds


NOTES = [b"", b"[]", b"{}", b"[" * 100_000, b'{"key": 1}', b'{"key": {}, "engine": 7}', b"\xff"]


@pytest.mark.parametrize("text", NOTES)
def test_a_broken_note_makes_the_engine_stale(exported, cuda, builds, text):
    FileEncoders(exported, "tensorrt")
    builds.clear()
    the(exported, "spatial", "json").write_bytes(text)
    assert FileEncoders(exported).way == "tensorrt" and builds == ["spatial.onnx"]


def test_auto_builds_nothing_and_says_what_would(exported, cuda, builds):
    encoders = FileEncoders(exported)
    assert encoders.way == "cpu" and not builds
    assert "no engines were built here: spatial-mllm export --tensorrt encoders" in encoders.said


def test_the_cpu_is_never_left_for_a_gpu(exported, cuda, builds):
    FileEncoders(exported, "tensorrt")
    assert FileEncoders(exported, "cpu").way == "cpu"
    assert FileEncoders(exported, "auto", "cpu").way == "cpu"


def test_asked_for_and_absent(exported, cuda, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(SpatialError, match="TensorRT is not installed: pip install tensorrt-cu12") as caught:
        FileEncoders(exported, "tensorrt")
    assert caught.value.code == ErrorCode.BAD_REQUEST
    monkeypatch.setitem(sys.modules, "tensorrt", doubles.TensorRT())
    for given, said in [
        ("cuda:3", "no cuda:3, there are 1"),
        ("auto", "CUDA failure in cudaGetDeviceCount: cudaErrorNoDevice"),
    ]:
        cuda.count = 1 if given != "auto" else 0
        with pytest.raises(SpatialError, match=f"TensorRT has no GPU here: {said}"):
            FileEncoders(exported, "tensorrt", given)
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(SpatialError, match="TensorRT needs cuda-python: pip install"):
        FileEncoders(exported, "tensorrt")


def test_a_file_that_tensorrt_does_not_take(exported, cuda):
    (exported.folder / "geometry.onnx").write_bytes(b"no onnx")
    with pytest.raises(SpatialError, match=r"TensorRT 10\.3\.0 does not take geometry\.onnx: "):
        engines_of(exported)


def command(*arguments) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["export", *map(str, arguments)])
    return done.exit_code, " ".join((done.output + str(done.exception or "")).split())


def test_the_command_builds_for_this_machine_and_says_what(exported, cuda):
    code, said = command("--tensorrt", exported.folder)
    assert code == 0 and "visual.engine was built in" in said and "TensorRT 10.3.0 on Test GPU" in said
    code, said = command("--tensorrt", exported.folder)
    assert code == 0 and "all engines were there" in said
    assert FileEncoders(exported).way == "tensorrt"


@pytest.mark.parametrize("arguments", [(), ("nano",), ("nano", "--tensorrt", "DIR"), ("--tensorrt", "D", "--out", "E")])
def test_the_command_says_what_it_takes(arguments):
    code, said = command(*arguments)
    assert code and "--tensorrt" in said and "MODEL" in said


def test_doctor_says_what_engines_need(exported, cuda, monkeypatch):
    assert doctor.engines() == ("TensorRT 10.3.0 on Test GPU, compute capability 8.7", "")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    found, missing = doctor.engines()
    assert not found and "apt install python3-libnvinfer on a Jetson" in missing


def test_progress_goes_from_nothing_to_all(exported, cuda):
    """As the compiler's own progress monitor tells it."""
    told: list[tuple[str, float]] = []
    FileEncoders(exported, "tensorrt", tell=lambda stage, part: told.append((stage, part)))
    parts = [part for _, part in told]
    assert parts == sorted(parts) and parts[0] == 0.0 and parts[-1] == 1.0
    stages = list(dict.fromkeys(stage for stage, _ in told))
    assert stages == [*(f"building {name}.engine" for name in FILES), "comparing engines with ONNX Runtime"]


def test_each_step_of_the_compiler_is_progress(exported, cuda):
    trt, parts = sys.modules["tensorrt"], []
    path = exported.file("geometry.onnx")
    plan = build.build(trt, library.listener(trt), path, exported.profiles("geometry.onnx"), parts.append)
    assert memoryview(plan).nbytes > 1000
    assert len(parts) > 3 and all(0 <= part <= 1 for part in parts) and parts == sorted(parts)


def test_what_the_listener_raises_ends_the_build(exported, cuda):
    def stop(part):
        raise KeyboardInterrupt

    trt = sys.modules["tensorrt"]
    with pytest.raises(KeyboardInterrupt):
        build.build(
            trt, library.listener(trt), exported.file("geometry.onnx"), exported.profiles("geometry.onnx"), stop
        )


def test_an_engine_of_other_inputs_is_refused(exported, cuda):
    FileEncoders(exported, "tensorrt")
    wrong = dict(exported.profiles("geometry.onnx"))
    wrong["more"] = wrong.pop("camera")
    trt = sys.modules["tensorrt"]
    gpu = engine.Gpu(0)
    with pytest.raises(SpatialError, match=r"the engine of geometry\.onnx has other inputs"):
        plan = the(exported, "geometry", "engine").read_bytes()
        engine.Engine(trt, library.listener(trt), gpu, exported.file("geometry.onnx"), plan, wrong, engine.Buffer(gpu))


BUILDER = """
import os
import sys
from pathlib import Path
import pytest
from tests.mllm.encoders.tensorrt import doubles
from spatial_mllm_ros.mllm.encoders.exported import read_exported
from spatial_mllm_ros.mllm.encoders.files import engines_of
from spatial_mllm_ros.mllm.encoders.tensorrt import engines

place, cache, how = sys.argv[1:]
doubles.install(pytest.MonkeyPatch(), Path(cache))
real = engines.build

def build(trt, log, file, *rest):
    print("builds", file.name, flush=True)
    plan = real(trt, log, file, *rest)
    if how != "through" and file.name == "geometry.onnx":
        sys.stdin.readline()
    return plan

engines.build = build
if how == "dies":
    engines.Engine = lambda *_: os._exit(9)
if how == "writing":
    sync, synced = os.fsync, []
    def pause(file):
        synced.append(file)
        if len(synced) == 2:
            print("wrote all but its name", flush=True)
            sys.stdin.readline()
        sync(file)
    os.fsync = pause
engines_of(read_exported(place), tell=lambda stage, part: stage.startswith("another") and print(stage, flush=True))
print("done", flush=True)
"""


@pytest.fixture
def process(exported, cache):
    """Starts processes that build, which are ended at the end."""
    started = []

    def start(how: str) -> subprocess.Popen:
        command = [sys.executable, "-c", BUILDER, str(exported.folder), str(cache), how]
        where = Path(__file__).parents[4]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=where)
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def lines_until(child: subprocess.Popen, last: str) -> list[str]:
    assert child.stdout is not None
    lines = []
    for line in child.stdout:
        lines.append(line.strip())
        if line.strip() == last:
            return lines
    raise AssertionError(f"it ended after {lines}")


@pytest.mark.long
def test_two_processes_build_each_engine_once(exported, process, cuda):
    first = process("slowly")
    lines_until(first, "builds geometry.onnx")
    second = process("through")
    lines_until(second, "another process builds geometry.engine")  # its engines of before that are taken
    first.stdin.write("\n")
    first.stdin.flush()
    built = [*lines_until(first, "done"), *lines_until(second, "done")]
    assert sorted(line for line in built if line.startswith("builds")) == [
        "builds connector.onnx",
        "builds visual.onnx",
    ]
    assert {path.name.split(".")[0] for path in kept_in(exported).glob("*.engine")} == set(FILES)


@pytest.mark.long
@pytest.mark.parametrize("how, mark", [("slowly", "builds geometry.onnx"), ("writing", "wrote all but its name")])
def test_killed_while_building(exported, process, cuda, how, mark):
    child = process(how)
    if how == "writing":
        lines_until(child, "builds geometry.onnx")
        child.stdin.write("\n")
        child.stdin.flush()
    lines_until(child, mark)
    child.send_signal(signal.SIGKILL)
    child.wait(60)
    assert not list(kept_in(exported).glob("geometry.*.engine"))
    again = process("through")
    assert "builds spatial.onnx" not in (said := lines_until(again, "done")) and "builds geometry.onnx" in said
    assert not list(kept_in(exported).glob(".geometry.*.engine.*"))
