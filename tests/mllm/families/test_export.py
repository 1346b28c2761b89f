"""Exported encoders: what they give for clips that nobody looked at, what TensorRT's compiler says, what is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
from itertools import islice
from math import prod
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transformers import Qwen2_5_VisionTransformerPretrainedModel

from spatial_mllm_ros.config import AskParams, CoverageParams
from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.frames import Camera, Frame
from spatial_mllm_ros.mllm import load_model
from spatial_mllm_ros.mllm.answering.engine import load_engine
from spatial_mllm_ros.mllm.encoders.export import check, write
from spatial_mllm_ros.mllm.encoders.export.graph import Extent, Range
from spatial_mllm_ros.mllm.encoders.grid import aggregator_inputs, heads_inputs, visual_inputs
from spatial_mllm_ros.mllm.encoders.tensorrt import build, library
from spatial_mllm_ros.mllm.families import exporting
from spatial_mllm_ros.mllm.families.spatial_mllm.graphs import visual_graph
from spatial_mllm_ros.mllm.families.spatial_mllm.packing import pack
from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import make_untrained
from spatial_mllm_ros.mllm.process.remote import ModelProcess
from spatial_mllm_ros.mllm.question import Question
from spatial_mllm_ros.recordings import read_any, read_frames
from spatial_mllm_ros.scene.selection import select_video
from tests.closeness import assert_close
from tests.mllm.process.bench import Log, poll

pytestmark = pytest.mark.timeout(600)  # one fixture exports a model, which others on the machine make slow
PICTURES = list(np.random.default_rng(0).integers(0, 256, (4, 12, 16, 3), np.uint8))
SIZES = [(112, 140), (56, 84), (140, 168)]
FRAMES = (1, 4, 16)
SCORES = 1 << 22  # so that chunks are needed, as they are for large models
FILES = ("visual", "spatial", "geometry", "connector")


def pictures() -> list[np.ndarray]:
    return PICTURES


@pytest.fixture(scope="module")
def nano(tmp_path_factory) -> Path:
    """Folders fp32 and fp16. torch takes most of the time, so it translates once for both."""
    folder, known, translate = tmp_path_factory.mktemp("export"), {}, write.translate

    def once(module, *rest):
        if (name := type(module).__name__) in known:
            return known[name]
        model = translate(module, *rest)
        known[name] = model.clone()
        for ours, theirs in zip(known[name].graph, model.graph, strict=True):
            ours.meta.update(theirs.meta)
        return model

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(write, "translate", once)
        patched.setattr(write, "SCORES", SCORES)
        for precision in ("fp32", "fp16"):
            exporting.export("nano", folder / precision, pictures, precision, FRAMES, SIZES)
    return folder


@pytest.fixture(scope="module")
def model():
    return load_model("nano")[0].model


def described(folder: Path) -> dict:
    return json.loads((folder / "encoders.json").read_text())


def near(found: np.ndarray, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert float(np.abs(found - expected.numpy()).max()) <= 1e-5 * float(expected.abs().max())


@torch.inference_mode()
def test_any_clip_is_seen_as_torch_sees_it(nano, model):
    """Frames and grids that the export did not compare, odd ones too; through all files, one after the other."""
    run = {name: check.open_session(nano / "fp32" / f"{name}.onnx", 1) for name in FILES}
    vggt = model.spatial_encoder.vggt_model
    side, dense = vggt.config.img_size // 14, [f"layer_{layer}" for layer in vggt.config.dpt_layers]
    for count, rows, columns in ((1, 5, 7), (2, 6, 8), (6, 8, 12), (16, 10, 10)):
        clip = np.random.default_rng(count).integers(0, 256, (count, 14 * rows, 14 * columns, 3), np.uint8)
        images = clip.transpose(0, 3, 1, 2).astype(np.float32) / 255
        names = [value.name for value in run["spatial"].get_outputs()]
        given = {"images": images, **aggregator_inputs(rows, columns, side)}
        tokens = dict(zip(names, run["spatial"].run(names, given), strict=True))
        expected = model.encoders.spatial(torch.from_numpy(images)[None])[0]
        near(tokens["layer_4"].reshape(count, rows * columns, -1), expected)

        some = {name: tokens[name][:8] for name in dense}
        pose, depth, sure = run["geometry"].run(
            ["pose_enc", "depth", "confidence"], {"camera": tokens["camera"], **some, **heads_inputs(rows, columns)}
        )
        geometry = model.encoders.geometry(torch.from_numpy(images))
        for found, torchs in zip((pose, depth, sure), (geometry.pose_enc, geometry.depth[:8], geometry.confidence[:8])):
            near(found, torchs)

        if count % 2 == 0 and rows % 2 == columns % 2 == 0:
            patches, grid = pack(clip, 1, clip[0].size)
            given = {"patches": patches.reshape(grid[0], -1, 4, 1176).numpy(), **visual_inputs(rows, columns, 0)}
            (visual,) = run["visual"].run(["visual"], given)
            seen = model.encoders.visual(patches, torch.tensor([grid]))
            near(visual.reshape(seen.shape), seen)
            given = {"visual": visual.reshape(grid[0], rows // 2, columns // 2, -1), "layer_4": tokens["layer_4"]}
            near(run["connector"].run(["fused"], given)[0], model.connector(seen, expected, grid))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_what_the_folder_says(nano, precision):
    said = described(nano / precision)
    assert said["precision"] == precision and said["opset"] == 20 and len(said["model"]) == 64
    assert said["range"] == {"frames": [1, 4, 16], "height": [56, 112, 140], "width": [84, 140, 168]}
    assert set(said["files"]) == {f"{name}.onnx" for name in FILES}
    images = said["files"]["spatial.onnx"]
    assert images["inputs"]["images"] == {"type": "float32", "shape": ["frames", 3, "14*rows", "14*columns"]}
    assert images["profiles"]["images"] == {"min": [1, 3, 56, 84], "opt": [4, 3, 112, 140], "max": [16, 3, 140, 168]}
    geometry = said["files"]["geometry.onnx"]["profiles"]
    assert geometry["camera"]["max"] == [16, 192] and geometry["layer_0"]["max"] == [8, 10, 12, 192]
    for file in said["files"].values():
        assert 0 < file["parity"]["difference"] <= file["parity"]["allowed"] <= 1e-3
        assert {(row["kind"], *row["size"]) for row in file["parity"]["clips"]} == {
            (kind, *size) for kind in ("noise", "rooms") for size in SIZES
        }


def test_half_precision_halves_the_weights_of_products_alone(nano):
    full, half = ((nano / precision / "visual.onnx").stat().st_size for precision in ("fp32", "fp16"))
    assert half < 0.65 * full
    initializers = {i.name: i.data_type for i in onnx.load(nano / "fp16" / "visual.onnx").graph.initializer}
    halved = [name for name, kind in initializers.items() if kind == onnx.TensorProto.FLOAT16]
    assert halved and not any("norm" in name or "bias" in name for name in halved)
    big = [i for i in onnx.load(nano / "fp16" / "visual.onnx").graph.initializer if prod(i.dims) == 256 * 96]
    kinds = [i.data_type for i in big]  # three gates, three ups, and three downs of which the last overflows
    assert kinds.count(onnx.TensorProto.FLOAT) == 1 and kinds.count(onnx.TensorProto.FLOAT16) == 8


def test_no_scores_are_larger_than_chunks_allow(nano, tmp_path):
    """Those that ONNX Runtime really makes of the largest clip."""
    model = onnx.load(nano / "fp32" / "spatial.onnx")
    names = [node.output[0] for node in model.graph.node if node.op_type == "Softmax"]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    onnx.save(model, tmp_path / "scores.onnx")
    images = np.zeros((16, 3, 140, 168), np.float32)
    found = check.open_session(tmp_path / "scores.onnx", 1).run(
        names, {"images": images, **aggregator_inputs(10, 12, side=10)}
    )
    tokens = 16 * (5 + 10 * 12)
    assert 3 * tokens**2 > SCORES, "no clip is large enough for this test"
    assert max(scores.size for scores in found) <= SCORES + 3 * tokens
    rows = sum(scores.shape[2] for scores in found if scores.shape[-1] == tokens)
    assert rows == 5 * tokens, "five layers across the clip: every query once"


@pytest.fixture(scope="module")
def compiler():
    """TensorRT's module, and what it warned of; it listens to one logger for as long as it lives."""
    tensorrt = pytest.importorskip("tensorrt_rtx_bindings", reason="no TensorRT-RTX wheels for this machine")
    return tensorrt, library.listener(tensorrt)


COMPILED = [(name, precision) for name in FILES for precision in ("fp32", "fp16")]


@pytest.mark.parametrize("name, precision", [each for each in COMPILED if each != ("geometry", "fp16")])  # it is fp32
def test_tensorrt_takes_every_file(nano, compiler, name, precision):
    tensorrt, log = compiler
    log.forget()
    builder = tensorrt.Builder(log)
    network = builder.create_network(0)
    parser = tensorrt.OnnxParser(network, log)
    parsed = parser.parse_from_file(str(nano / precision / f"{name}.onnx"))
    assert parsed, [parser.get_error(i).desc() for i in range(parser.num_errors)]
    profile, config = builder.create_optimization_profile(), builder.create_builder_config()
    for given, shapes in described(nano / precision)["files"][f"{name}.onnx"]["profiles"].items():
        profile.set_shape(given, *(tuple(shapes[point]) for point in ("min", "opt", "max")))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None
    assert not log.said


@pytest.mark.parametrize("rows, columns", [(2, 2), (4, 6), (10, 14)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_the_2d_encoder_is_that_of_transformers(tiny, rows, columns, dtype):
    """With windows, whole and cut at the border; images of other grids before and after."""
    torch.manual_seed(0)
    ours = load_model(tiny, dtype=str(dtype).removeprefix("torch."))[0].model.visual
    theirs = Qwen2_5_VisionTransformerPretrainedModel(ours.config).eval()
    theirs.load_state_dict(ours.float().state_dict())
    grids = torch.tensor([[1, 4, 4], [3, rows, columns], [2, 2, 6]])
    pixels = torch.randn(int(grids.prod(1).sum()), 1176)
    expected = theirs(pixels, grid_thw=grids).pooler_output
    if dtype is torch.float32:
        assert_close(ours(pixels, grid_thw=grids).pooler_output, expected)
        return
    half = theirs.to(dtype)(pixels.to(dtype), grid_thw=grids).pooler_output.float()
    found = ours.to(dtype)(pixels.to(dtype), grid_thw=grids).pooler_output.float()
    assert (found - expected).norm() <= 1.2 * (half - expected).norm(), "bfloat16 rounds more than in transformers"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_2d_encoder_with_windows_as_a_file(tiny, compiler, tmp_path, precision):
    """As released checkpoints have them: compared with torch, and built by TensorRT."""
    graph = visual_graph(load_model(tiny)[0].model.visual)
    within = Range(Extent(1, 4, 8), Extent(2, 6, 10), Extent(2, 8, 14))
    about = {"model": "", "vggt": {}}
    said = write.write(tmp_path, [graph], within, 14, PICTURES, about, precision)["files"]["visual.onnx"]
    assert said["parity"]["difference"] <= said["parity"]["allowed"]
    assert said["profiles"]["window_bias"] == {"min": [1, 16], "opt": [4, 16], "max": [12, 16]}
    trt, log = compiler
    assert build.build(trt, log, tmp_path / "visual.onnx", said["profiles"], lambda part: None)
    assert not log.said


REFUSED = {
    "expected MIN <= OPT <= MAX": {"frames": (4, 2, 8)},
    "from 1 to 128": {"frames": (1, 16, 130)},
    "frames are seen in pairs": {"frames": (1, 4, 7)},
    "size 100x140: expected multiples of 28 pixels up to 4096, such as 112x140": {"sizes": [(112, 140), (100, 140)]},
    "size 0x28": {"sizes": [(0, 28)]},
    "precision 'int8': expected fp32 or fp16": {"precision": "int8"},
    "expected a folder or a hub id": {"model": "no/such/model"},
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_no_clip_has_is_refused(tmp_path, said):
    asked = {"model": "nano", **REFUSED[said]}
    with pytest.raises(SpatialError, match=said) as caught:
        exporting.export(out=tmp_path / "out", pictures=pictures, **asked)
    assert caught.value.code == ErrorCode.BAD_REQUEST and not list(tmp_path.iterdir())


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(SpatialError, match=r"no config\.json|no weights"):
        exporting.export(tmp_path, tmp_path / "out", pictures)


def test_only_an_export_is_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SpatialError, match="exists already: choose another name, or --overwrite it"):
        exporting.export("nano", tmp_path, pictures)
    with pytest.raises(SpatialError, match="nothing else is overwritten"):
        exporting.export("nano", tmp_path, pictures, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"


# Run by ONNX Runtime


@pytest.fixture(scope="module")
def engines(nano):
    return [load_engine("nano", device="cpu", encoders=folder, provider="cpu") for folder in ("", nano / "fp32")]


def rooms(count: int, size: tuple[int, int] = (480, 640)) -> list[np.ndarray]:
    coarse = np.random.default_rng(count).integers(0, 256, (count, 12, 16, 3), np.uint8)
    return [cv2.resize(image, size[::-1]) for image in coarse]


def test_answers_are_those_of_torch(engines):
    torchs, files = engines
    assert files.taken.startswith("encoders by ONNX Runtime, cpu, fp32") and not torchs.taken
    for count in (1, 4, 9):
        for question in (Question("How far is the table?"), Question("Which is closer?", ("the cup", "the chair"))):
            expected, found = (engine.ask(rooms(count), question) for engine in engines)
            assert (found.text, found.verdict, found.choice) == (expected.text, expected.verdict, expected.choice)
            assert found.confidence == pytest.approx(expected.confidence, abs=1e-5)


@pytest.mark.long
def test_a_killed_process_comes_back_with_its_encoders(nano, engines):
    params = AskParams(model="nano", encoders=str(nano / "fp32"), provider="cpu", device="cpu", timeout=90.0)
    process, camera = ModelProcess(params, Log()), Camera("camera", "optical", 640, 480, np.eye(3))
    given = [Frame(10**6 * (i + 1), camera, image=image) for i, image in enumerate(rooms(4))]
    question = Question("How far is the table?")
    process.start()
    try:
        expected = engines[0].ask(rooms(4), question).text
        for restarts in range(2):
            assert process.ask(question, given).result(90.0).text == expected
            assert process.state.loaded.startswith("encoders by ONNX Runtime, cpu, fp32")
            assert process.state.restarts == restarts
            os.kill(process.state.pid, signal.SIGKILL)
            poll(lambda before=restarts: process.state.restarts > before, "another process")
    finally:
        process.close()


def test_geometry_is_that_of_torch_whatever_came_before(engines):
    for count, size in ((4, (480, 640)), (9, (480, 480)), (4, (480, 640)), (3, (64, 100))):
        expected, found = (engine.geometry(rooms(count, size)) for engine in engines)
        for name in ("depth", "confidence", "window_from_camera", "intrinsics"):
            ours, torchs = (getattr(window, name) for window in (found, expected))
            assert float(np.abs(ours - torchs).max()) <= 1e-5 * float(np.abs(torchs).max()), name


def test_what_was_given_is_not_written_over_by_what_comes_next(engines):
    first = engines[1].geometry(rooms(4))
    kept = first.depth.copy(), first.window_from_camera.copy()
    engines[1].geometry(rooms(4)[::-1])
    assert np.array_equal(first.depth, kept[0]) and np.array_equal(first.window_from_camera, kept[1])


def test_the_network_has_no_encoders_of_its_own(engines):
    parts = [name for name, _ in engines[1].model.network.named_parameters()]
    assert not [name for name in parts if name.split(".")[1] in ("visual", "spatial_encoder", "connector")]


def test_sizes_beyond_the_export_are_said(engines):
    with pytest.raises(SpatialError, match="exported for images of 1 to 16 x 3 x 56 to 140") as error:
        engines[1].geometry(rooms(17))
    assert error.value.code == ErrorCode.BAD_REQUEST and "not for 17 x 3" in error.value.message
    with pytest.raises(SpatialError, match="export the encoders with --frames and --size"):
        engines[1].ask(rooms(2, (640, 100)), Question("What?"))


@pytest.fixture
def copy(nano, tmp_path):
    return Path(shutil.copytree(nano / "fp32", tmp_path / "copy"))


def test_encoders_of_another_model(copy, tmp_path):
    make_untrained(tmp_path / "tiny")
    with pytest.raises(SpatialError, match=r"are of model [0-9a-f]{12}, the model that answers is [0-9a-f]{12}"):
        load_engine(tmp_path / "tiny", device="cpu", encoders=copy)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut", "other", "gone"])
def test_damaged_files(copy, name, damage):
    file = copy / f"{name}.onnx"
    data = file.read_bytes()
    file.unlink()
    if damage != "gone":
        file.write_bytes(data[: len(data) // 2] if damage == "cut" else (copy / f"{OTHER[name]}.onnx").read_bytes())
    with pytest.raises(SpatialError, match=rf"{name}\.onnx (cannot be loaded|is not the file|is missing)") as error:
        engine = load_engine("nano", device="cpu", encoders=copy, provider="cpu")
        engine.geometry(rooms(2))
    assert error.value.code == ErrorCode.BAD_REQUEST and "export" in error.value.message


OTHER = {"visual": "connector", "spatial": "geometry", "geometry": "connector", "connector": "spatial"}


def test_a_provider_that_is_not_there(copy):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(SpatialError, match="provider cuda is not in this ONNX Runtime, which has cpu"):
        load_engine("nano", device="cpu", encoders=copy, provider="cuda")
    with pytest.raises(SpatialError, match="provider 'dsp': expected auto, tensorrt, onnx-tensorrt, cuda, cpu"):
        load_engine("nano", device="cpu", encoders=copy, provider="dsp")


WITHOUT_TORCH = """
import importlib.metadata as metadata, sys
MISSING, version = {"torch", "transformers", "peft", "safetensors", "tokenizers", "huggingface_hub"}, metadata.version
def without(name):
    if name in MISSING:
        raise metadata.PackageNotFoundError(name)
    return version(name)
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
metadata.version = without
sys.meta_path.insert(0, Missing())
"""


def test_frames_are_chosen_without_torch(nano, tmp_path, simulated_bag, monkeypatch):
    """The same frames as with torch; a question is refused in words."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_TORCH)
    root = Path(__file__).parents[3]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{root}")
    command = [sys.executable, "-m", "spatial_mllm_ros.cli"]
    some = ["--model", "nano", "--encoders", str(nano / "fp32")]
    few = tmp_path / "few"
    few.mkdir()
    for number, frame in enumerate(islice(read_frames(simulated_bag), 12)):
        cv2.imwrite(str(few / f"{number}.png"), frame.image[..., ::-1])
    sample = [*command, "sample", str(few), "--k", "4", "--json", str(tmp_path / "s.json"), *some]
    done = subprocess.run(sample, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "without torch: geometry alone, by ONNX Runtime, cpu" in " ".join(done.stderr.split())
    engine = load_engine("nano", device="cpu")
    expected = select_video(read_any(few), CoverageParams(frames=4), engine.geometry)
    chosen = [frame["stamp_ns"] for frame in json.loads((tmp_path / "s.json").read_text())["frames"]]
    assert sorted(chosen) == sorted(frame.stamp_ns for frame in expected.frames)
    done = subprocess.run([*command, "ask", str(few), "How far?", *some], capture_output=True, text=True)
    assert done.returncode == 1 and "questions need torch, which is not installed" in " ".join(done.stderr.split())
