"""A plain VGGT as files: no 2D encoder, no connector, no answers; depth and cameras as torch sees them."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.mllm.answering.engine import load_engine
from spatial_mllm_ros.mllm.encoders.exported import read_exported
from spatial_mllm_ros.mllm.encoders.tensorrt import build, library
from spatial_mllm_ros.mllm.families import exporting
from spatial_mllm_ros.mllm.question import Question

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]  # one fixture exports a model, slowly beside others
SPATIAL = "spatial_encoder.vggt_model."
SIZES = [(56, 70), (28, 42), (84, 84)]


@pytest.fixture(scope="module")
def vggt(tiny, tmp_path_factory):
    """A folder as VGGT is released in, and another of what is exported of it."""
    folder = tmp_path_factory.mktemp("vggt")
    sizes = json.loads((tiny / "config.json").read_text())["spatial_config"]
    (folder / "config.json").write_text(json.dumps(sizes))
    tensors = [load_file(path).items() for path in sorted(tiny.glob("*.safetensors"))]
    inside = {name.removeprefix(SPATIAL): t for some in tensors for name, t in some if name.startswith(SPATIAL)}
    save_file(inside, folder / "model.safetensors")
    pictures = list(np.random.default_rng(0).integers(0, 256, (3, 12, 16, 3), np.uint8))
    done = exporting.export(folder, folder / "encoders", lambda: pictures, frames=(1, 3, 9), sizes=SIZES)
    assert set(done["files"]) == {"spatial.onnx", "geometry.onnx"}
    return folder


def clips():
    noise = np.random.default_rng(1)
    for frames, height, width in ((1, 28, 42), (3, 56, 70), (9, 42, 84)):
        yield list(noise.integers(0, 256, (frames, height, width, 3), np.uint8))


def test_depth_and_cameras_are_those_of_torch(vggt):
    """Also more frames than are shown at once."""
    torchs, files = load_engine(vggt, device="cpu"), load_engine(vggt, device="cpu", encoders=vggt / "encoders")
    assert "encoders by ONNX Runtime, cpu, fp32" in files.taken
    for clip in clips():
        expected, found = torchs.geometry(clip), files.geometry(clip)
        for name in ("depth", "confidence", "window_from_camera", "intrinsics"):
            ours, theirs = getattr(found, name), getattr(expected, name)
            assert ours.shape == theirs.shape
            assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max(), name


def test_it_answers_no_questions(vggt):
    engine = load_engine(vggt, device="cpu", encoders=vggt / "encoders")
    with pytest.raises(SpatialError) as caught:
        engine.ask(next(clips()), Question("How far is the table?"))
    assert caught.value.code == ErrorCode.MODEL_NOT_READY


def test_tensorrt_builds_both_files(vggt):
    trt = pytest.importorskip("tensorrt_rtx_bindings", reason="no TensorRT-RTX wheels for this machine")
    exported, log = read_exported(vggt / "encoders"), library.listener(trt)
    for name in ("spatial.onnx", "geometry.onnx"):
        plan = build.build(trt, log, exported.file(name), exported.profiles(name), lambda part: None)
        assert memoryview(plan).nbytes > 10_000
    assert not log.said
