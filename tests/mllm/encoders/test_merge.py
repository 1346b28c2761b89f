"""Steps joined before a file is written: the same numbers from fewer of them, and nothing joined that others read."""

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from spatial_mllm_ros.mllm.encoders.export import check
from spatial_mllm_ros.mllm.encoders.export.merge import merge
from spatial_mllm_ros.mllm.encoders.export.translate import translate
from tests.mllm.encoders.test_export import export


class Scaled(nn.Module):
    """A norm, a product and factors of its channels; ``read`` is what is done with the product beside."""

    def __init__(self, factors: torch.Tensor, read=lambda product: 0.0):
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.linear, self.read = nn.RMSNorm(12), nn.Linear(12, 5), read
        self.norm.weight.data = torch.randn(12)
        self.factors = nn.Parameter(factors)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        product = self.linear(self.norm(x))
        return product * self.factors + self.read(product)


def merged(module: nn.Module, rank: int, path) -> Counter:
    """Writes the module's file with its steps joined; which steps there are."""
    x = torch.randn(*(3, 4, 5)[: rank - 1], 12)
    axes = {i: name for i, name in enumerate(("clips", "frames", "tokens")[: rank - 1])}
    model = translate(module, {"x": x}, {"x": axes}, ("y",))
    merge(model)
    ir.save(model, path)
    return Counter(node.op_type for node in model.graph)


def assert_same(module: nn.Module, path, lengths: tuple[int, ...]) -> None:
    session, x = check.open_session(path, 1), torch.randn(*lengths, 12)
    (found,) = session.run(["y"], {"x": x.numpy()})
    np.testing.assert_allclose(np.asarray(found), module(x).detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rank", [3, 4])
def test_norm_factors_and_bias_in_one_product(rank, tmp_path):
    module = Scaled(torch.randn(5))
    steps = merged(module, rank, tmp_path / "a.onnx")
    assert steps["Gemm"] == 1 and not steps["MatMul"] and not steps["Reciprocal"]
    assert steps["Mul"] == 1  # by the norm's own weight
    for length in (1, 2, 7):
        assert_same(module, tmp_path / "a.onnx", (length, 3, 2)[: rank - 1])


def test_a_product_that_is_read_elsewhere_stays(tmp_path):
    module = Scaled(torch.randn(5), torch.tanh)
    assert merged(module, 3, tmp_path / "a.onnx")["Mul"] == 2
    assert_same(module, tmp_path / "a.onnx", (4, 2))


@pytest.mark.parametrize("shape", [(1,), (3, 1, 1)])
def test_factors_that_are_not_of_channels_stay(shape, tmp_path):
    module = Scaled(torch.randn(shape))
    assert merged(module, 3, tmp_path / "a.onnx")["Mul"] == 2
    assert_same(module, tmp_path / "a.onnx", (3, 2))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(12, 5), nn.Linear(5, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x).sin())


def test_lengths_are_looked_up_once(tmp_path):
    module = Twice()
    steps = merged(module, 3, tmp_path / "a.onnx")
    assert steps["Gemm"] == 2 and steps["Shape"] == 1
    assert_same(module, tmp_path / "a.onnx", (5, 2))


class Again(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.gamma = nn.Linear(12, 12), nn.Parameter(torch.randn(12))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            x = (self.linear(x) * self.gamma).sin()
        return x


def test_weights_of_a_layer_that_runs_again_are_kept_once(tmp_path):
    module = Again()
    assert merged(module, 3, tmp_path / "a.onnx")["Gemm"] == 3
    assert_same(module, tmp_path / "a.onnx", (5, 2))
    kept = ir.load(tmp_path / "a.onnx").graph.initializers.values()
    assert sum(list(value.shape or ()) == [12, 12] for value in kept) == 1


class Faint(nn.Module):
    """Factors that would leave nothing of weights in float16."""

    def __init__(self):
        super().__init__()
        self.linear, self.gamma = nn.Linear(12, 12), nn.Parameter(torch.full((12,), 1e-7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * self.gamma


@pytest.mark.parametrize("precision, steps", [("fp32", {"Gemm"}), ("fp16", {"MatMul", "Mul", "Add"})])
def test_half_precision_keeps_factors_apart(precision, steps, tmp_path):
    torch.manual_seed(0)
    said = export(tmp_path, Faint(), precision)["files"]["scaled.onnx"]["parity"]
    assert said["difference"] <= said["allowed"]
    assert {node.op_type for node in ir.load(tmp_path / "scaled.onnx").graph} & {
        "Gemm",
        "MatMul",
        "Mul",
        "Add",
    } == steps
