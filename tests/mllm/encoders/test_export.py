"""The gates of an export, each on a graph small enough to be made wrong on purpose."""

from collections import namedtuple

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.mllm.encoders.export import check, write
from spatial_mllm_ros.mllm.encoders.export.chunks import chunk_attention
from spatial_mllm_ros.mllm.encoders.export.graph import Extent, Graph, Range
from spatial_mllm_ros.mllm.encoders.export.rules import broken, largest_scores
from spatial_mllm_ros.mllm.encoders.export.translate import translate

WITHIN = Range(Extent(1, 2, 4), Extent(2, 2, 2), Extent(2, 4, 4))
PICTURES = [np.full((8, 8, 3), 200, np.uint8)]


class Scaled(nn.Module):
    """Pixels times a number, through a product of matrices and back."""

    def __init__(self, factor: float):
        super().__init__()
        self.there, self.back = nn.Linear(12, 12, bias=False), nn.Linear(12, 12, bias=False)
        self.there.weight.data, self.back.weight.data = factor * torch.eye(12), torch.eye(12) / factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.back(self.there(x))


def graph(module: nn.Module, full: tuple[str, ...] = ()) -> Graph:
    def feed(clip):
        return {"x": clip.frames.reshape(len(clip.frames), -1, 12).astype(np.float32)}

    def sizes(frames, rows, columns):
        return {"frames": frames, "parts": rows * columns * 14 * 14 * 3 // 12}

    return Graph("scaled", module, {"x": {0: "frames", 1: "parts"}}, ("y",), feed, sizes, full)


def export(folder, module, precision="fp32", full=()):
    return write.write(folder, [graph(module, full)], WITHIN, 14, PICTURES, {"model": "none"}, precision)


def test_a_file_that_is_as_torch_is_kept(tmp_path):
    said = export(tmp_path, Scaled(3.0))["files"]["scaled.onnx"]
    assert said["profiles"] == {"x": {"min": [1, 196, 12], "opt": [2, 392, 12], "max": [4, 392, 12]}}
    assert said["parity"]["difference"] < 1e-6 and (tmp_path / "scaled.onnx").is_file()


def test_a_file_that_is_not_is_refused(tmp_path, monkeypatch):
    seen = check.see

    def off(graph, clip):
        seen(graph, clip)
        clip.values["y"] = clip.values["y"] * (1 + 2e-5)

    monkeypatch.setattr(check, "see", off)
    with pytest.raises(SpatialError, match=r"scaled\.onnx is 2e-05 from torch: expected at most 1e-05"):
        export(tmp_path, Scaled(3.0))
    assert not (tmp_path / "encoders.json").exists()


def test_an_overflow_that_only_a_gpu_has_is_found(tmp_path):
    """255 * 300 is above what float16 holds; ONNX Runtime on a CPU would not notice."""
    with pytest.raises(SpatialError, match=r"scaled\.onnx is inf from torch.*fp32 is closer"):
        export(tmp_path, Scaled(300.0), "fp16")


def test_a_module_that_overflows_can_stay_float32(tmp_path):
    said = export(tmp_path, Scaled(300.0), "fp16", ("there", "back"))
    assert said["files"]["scaled.onnx"]["parity"]["rounded"] < 1e-6


def test_a_weight_that_float16_does_not_hold_is_refused(tmp_path):
    with pytest.raises(SpatialError, match=r"holds 1e\+05, too large for fp16: expected --precision fp32"):
        export(tmp_path, Scaled(1e5), "fp16")


def test_no_space_is_said_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(write, "disk_usage", lambda path: usage(100, 90, 10))
    with pytest.raises(SpatialError, match=r"scaled.onnx has 0.0 GB, 0.0 GB are free"):
        export(tmp_path, Scaled(3.0))
    assert not list(tmp_path.iterdir())


def test_weights_of_a_large_file_lie_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "LARGEST_FILE", 16)
    export(tmp_path, Scaled(3.0))
    assert (tmp_path / "scaled.onnx.data").stat().st_size >= 2 * 12 * 12 * 4


class Attention(nn.Module):
    def forward(self, q: torch.Tensor) -> torch.Tensor:
        return q + F.scaled_dot_product_attention(q, q, q)


@pytest.fixture(scope="module")
def attention():
    q = torch.randn(1, 2, 7, 4)
    return translate(Attention(), {"q": q}, {"q": {2: "tokens"}}, ("seen",))


@pytest.mark.parametrize("most", [2 * 40 * 40, 500, 81, 80])
def test_chunks_change_nothing(attention, most, tmp_path):
    """Of any length, shorter than the number of chunks too; but for the order of sums, which rounds the last digit."""
    torch.manual_seed(0)
    model = attention.clone()
    count = chunk_attention(model.graph, {"tokens": 40}, most)
    assert count == -(-2 * 40 * 40 // most)
    assert (most == 2 * 40 * 40) == (count == 1)
    assert largest_scores(model.graph, {"tokens": 40}) <= 2 * 40 * (40 // count + 1)
    ir.save(model, tmp_path / "a.onnx")
    session = check.open_session(tmp_path / "a.onnx", 1)
    for tokens in (1, 3, 17, 40):
        q = torch.randn(1, 2, tokens, 4)
        (found,) = session.run(["seen"], {"q": q.numpy()})
        np.testing.assert_allclose(found, Attention()(q).numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "kind, inputs, shape, attributes, said",
    [
        ("Resize", 1, [1, 1, 4, 4], {"antialias": 1}, "antialiased"),
        ("SplitToSequence", 1, [4], {}, "1 SplitToSequence: TensorRT 10.1 has no such operator"),
        ("Attention", 3, [1, 4, 4], {}, "1 Attention: TensorRT 10.1 has no such operator"),
        ("Loop", 1, [4], {}, "1 Loop"),
        ("Reshape", 2, [1] * 9, {}, "has 9 axes: TensorRT takes 8"),
        ("MatMul", 2, ["tokens", 1 << 16], {}, "has 2147483648 elements in the largest clip"),
        ("MatMul", 2, None, {}, "has an unknown shape"),
        ("MatMul", 2, ["tokens", (1 << 16) - 1], {}, None),
    ],
)
def test_what_tensorrt_would_not_take(kind, inputs, shape, attributes, said):
    given = [ir.Value(name=f"in_{i}") for i in range(inputs)]
    node = ir.node(kind, given, attributes=attributes)
    node.outputs[0].name = "out"
    node.outputs[0].shape = None if shape is None else ir.Shape(shape)
    graph = ir.Graph(given, node.outputs, nodes=[node], opset_imports={"": 20})
    found = list(broken(graph, {"tokens": 1 << 15}))
    assert (said is None and not found) or (said is not None and any(said in text for text in found)), found


def test_every_number_that_is_none_is_infinitely_far():
    one = np.ones(3, np.float32)
    for precision in ("fp32", "fp16"):
        assert check.difference(np.array([1, np.nan, 1]), one, precision) == np.inf
        assert check.difference(one, one, precision) == 0
    assert check.difference(np.array([1.0, 1.0, 1.5]), one, "fp32") == pytest.approx(0.5)
    assert check.difference(np.array([1.0, 1.0, 1.5]), one, "fp16") == pytest.approx(0.5 / 3**0.5)
