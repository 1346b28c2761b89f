"""Exported encoders: what they give for clips that nobody looked at, what TensorRT's compiler says, what is refused."""

import json
from math import prod
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.mllm import load_model
from spatial_mllm_ros.mllm.encoders.export import check, write
from spatial_mllm_ros.mllm.encoders.grid import aggregator_inputs, heads_inputs, visual_inputs
from spatial_mllm_ros.mllm.families import exporting
from spatial_mllm_ros.mllm.families.spatial_mllm.graphs import Visual, window_of
from spatial_mllm_ros.mllm.families.spatial_mllm.packing import pack
from tests.closeness import assert_close

PICTURES = list(np.random.default_rng(0).integers(0, 256, (4, 12, 16, 3), np.uint8))
SIZES = [(112, 140), (56, 84), (140, 168)]
FRAMES = (1, 4, 16)
SCORES = 1 << 22  # so that chunks are needed, as they are for large models
FILES = ("visual", "spatial", "geometry", "connector")


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
            exporting.export("nano", folder / precision, PICTURES, precision, FRAMES, SIZES)
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

    class Log(tensorrt.ILogger):
        def __init__(self):
            super().__init__()
            self.said = []

        def log(self, severity, msg):
            if severity <= tensorrt.ILogger.WARNING:
                self.said.append(msg)

    return tensorrt, Log()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", FILES)
def test_tensorrt_takes_every_file(nano, compiler, name, precision):
    tensorrt, log = compiler
    log.said.clear()
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
@torch.inference_mode()
def test_the_2d_encoder_is_that_of_transformers(tiny, rows, columns):
    """With windows, whole and cut at the border."""
    tower = load_model(tiny)[0].model.visual
    patches = torch.randn(3, rows * columns // 4, 4, 1176)
    given = visual_inputs(rows, columns, window_of(tower.config))
    found = Visual(tower)(patches, *map(torch.from_numpy, given.values()))
    expected = tower(patches.flatten(0, 2), grid_thw=torch.tensor([[3, rows, columns]])).pooler_output
    assert_close(found.flatten(0, 1), expected)


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
        exporting.export(out=tmp_path / "out", pictures=PICTURES, **asked)
    assert caught.value.code == ErrorCode.BAD_REQUEST and not list(tmp_path.iterdir())


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(SpatialError, match=r"no config\.json|no weights"):
        exporting.export(tmp_path, tmp_path / "out", PICTURES)


def test_only_an_export_is_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SpatialError, match="exists already: choose another name, or --overwrite it"):
        exporting.export("nano", tmp_path, PICTURES)
    with pytest.raises(SpatialError, match="nothing else is overwritten"):
        exporting.export("nano", tmp_path, PICTURES, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
