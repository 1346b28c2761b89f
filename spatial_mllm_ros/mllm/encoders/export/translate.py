"""From a module of torch to an ONNX graph whose sizes vary."""

import logging
import math
import warnings
from ast import literal_eval
from collections.abc import Mapping
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import opset20
from torch import nn
from torch.export import Dim

from .graph import evaluated

op: Any = opset20
OPSET = 20  # the newest that TensorRT 10.3, of JetPack 6.1, reads
SCOPES = "pkg.torch.onnx.name_scopes"  # modules that a node comes from, as torch notes them
LONGEST = 1 << 20  # of an axis; torch asks for an end


def translate(
    module: nn.Module,
    example: Mapping[str, torch.Tensor],
    axes: Mapping[str, Mapping[int, str]],
    outputs: tuple[str, ...],
) -> ir.Model:
    """The module's graph, its weights those of the module.

    Args:
        module: takes the inputs by position, each a tensor. example: small inputs, no axis shorter than 3.
        axes: axes that vary, see ``Graph``. outputs: names of the results.
    """
    names = {letter for each in axes.values() for text in each.values() for letter in _names(text)}
    dims = {name: Dim(name, min=3, max=LONGEST) for name in names}
    varying = {name: {i: evaluated(text, dims) for i, text in each.items()} for name, each in axes.items()}
    log = logging.getLogger("torch.onnx")
    level = log.level
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        log.setLevel(logging.ERROR)  # of operators of packages that are not installed
        try:
            program = torch.onnx.export(
                module.eval(),
                tuple(example.values()),
                dynamo=True,
                dynamic_shapes=tuple(varying.values()),
                opset_version=OPSET,
                input_names=list(example),
                output_names=list(outputs),
                custom_translation_table=TRANSLATIONS,
                verbose=False,
            )
        finally:
            log.setLevel(level)
    assert program is not None
    for part in (program.model, program.model.graph, *program.model.graph):
        part.doc_string = None
        scopes = part.metadata_props.get(SCOPES)
        part.metadata_props.clear()  # lines of our source, with folders of this machine
        if isinstance(part, ir.Node) and scopes:
            part.meta["modules"] = frozenset(literal_eval(scopes))
    return program.model


def attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    """softmax(q k' / sqrt(D) + mask) v, the scale on the shorter side of the product."""
    axes = list(range(len(query.shape)))
    scaled = op.Mul(query, op.Constant(value_float=1 / math.sqrt(query.shape[-1])))
    scores = op.MatMul(scaled, op.Transpose(key, perm=[*axes[:-2], axes[-1], axes[-2]]))
    if attn_mask is not None:
        scores = op.Add(scores, attn_mask)
    return op.MatMul(op.Softmax(scores, axis=-1), value)


def gelu(x, approximate="none"):
    """By the error function, which every runtime has and fuses; Gelu is younger."""
    spread = op.Add(op.Erf(op.Div(x, op.Constant(value_float=math.sqrt(2)))), op.Constant(value_float=1.0))
    return op.Mul(op.Mul(x, spread), op.Constant(value_float=0.5))


TRANSLATIONS = {
    torch.ops.aten.scaled_dot_product_attention.default: attention,
    torch.ops.aten.gelu.default: gelu,
}


def _names(expression: str) -> list[str]:
    return [part for part in expression.split("*") if not part.isdigit()]
