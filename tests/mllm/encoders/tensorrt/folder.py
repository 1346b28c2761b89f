"""Small files with the inputs and outputs of exported encoders, whose values are easily said."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

HEAD = '<ir_version: 9, opset_import: ["" : 20]>\n'
GRAPHS = {
    "spatial": """spatial (float[frames,3,"14*rows","14*columns"] images,
        float[rows] row_places, float[columns] column_places,
        float[rows,8] row_weights, float[columns,8] column_weights)
      => (float[frames,4] camera, float[frames,rows,columns,4] layer_0, float[frames,rows,columns,4] layer_1)
      <float[4,3,14,14] patches, int64[1] one = {1}, int64[2] ends = {1, 2},
       float two = {2.0}>
      {
        cells = Conv <strides = [14, 14]> (images, patches)
        tokens = Transpose <perm = [0, 2, 3, 1]> (cells)
        rows = ReduceSum <keepdims = 1> (row_weights, one)
        columns = ReduceSum <keepdims = 1> (column_weights, one)
        down = Unsqueeze (row_places, one)
        down2 = Mul (down, rows)
        across = Unsqueeze (column_places, one)
        across2 = Mul (across, columns)
        down3 = Unsqueeze (down2, one)
        sum = Add (tokens, down3)
        layer_0 = Add (sum, across2)
        layer_1 = Mul (layer_0, two)
        camera = ReduceMean <keepdims = 0> (layer_1, ends)
      }""",
    "geometry": """geometry (float[frames,4] camera, float[shown,rows,columns,4] layer_0,
        float[shown,rows,columns,4] layer_1, float[rows] cells_down, float[columns] cells_across,
        float["14*rows"] pixels_down, float["14*columns"] pixels_across)
      => (float[frames,9] pose_enc, float[shown,"14*rows","14*columns"] depth,
        float[shown,"14*rows","14*columns"] confidence)
      <float[4,9] poses, int64[2] grid = {2, 3}, int64[1] one = {1}, int64[1] first = {0}>
      {
        pose_enc = MatMul (camera, poses)
        both = Mul (layer_0, layer_1)
        tokens = ReduceMean <keepdims = 1> (both, grid)
        frame = ReduceMean <keepdims = 1> (tokens, one)
        flat = Squeeze (frame, one)
        down = Unsqueeze (pixels_down, one)
        pixels = Mul (down, pixels_across)
        depth = Add (flat, pixels)
        some = ReduceSum <keepdims = 1> (cells_down, first)
        other = ReduceSum <keepdims = 1> (cells_across, first)
        both_cells = Add (some, other)
        confidence = Add (depth, both_cells)
      }""",
    "visual": """visual (float[pairs,tokens,4,1176] patches, float[tokens,4,2] places) => (float[pairs,tokens,6] visual)
      <float[1176,6] weights, int64[1] two = {2}, int64[2] inner = {1, 2}>
      {
        seen = MatMul (patches, weights)
        merged = ReduceMean <keepdims = 0> (seen, two)
        place = ReduceSum <keepdims = 0> (places, inner)
        column = Unsqueeze (place, one)
        visual = Add (merged, column)
      }""",
    "connector": """connector (float[pairs,down,across,6] visual, float["2*pairs","2*down","2*across",4] layer_1)
      => (float[tokens,6] fused) <int64[2] flat = {-1, 6}, int64[4] all = {0, 1, 2, 3}>
      {
        tokens = Reshape (visual, flat)
        mean = ReduceMean <keepdims = 0> (layer_1, all)
        fused = Add (tokens, mean)
      }""",
}
GRAPHS["visual"] = GRAPHS["visual"].replace("int64[1] two = {2},", "int64[1] two = {2}, int64[1] one = {1},")
RANDOM = {
    "spatial": {"patches": (4, 3, 14, 14)},
    "geometry": {"poses": (4, 9)},
    "visual": {"weights": (1176, 6)},
    "connector": {},
}


def shapes(frames: int, rows: int, columns: int) -> dict[str, dict[str, list[int]]]:
    """Of every input of every file."""
    pairs, tokens, shown = -(-frames // 2), rows * columns // 4, min(frames, 8)
    grid = {"row_places": [rows], "column_places": [columns]}
    return {
        "spatial": {
            "images": [frames, 3, 14 * rows, 14 * columns],
            **grid,
            "row_weights": [rows, 8],
            "column_weights": [columns, 8],
        },
        "geometry": {
            "camera": [frames, 4],
            "layer_0": [shown, rows, columns, 4],
            "layer_1": [shown, rows, columns, 4],
            "cells_down": [rows],
            "cells_across": [columns],
            "pixels_down": [14 * rows],
            "pixels_across": [14 * columns],
        },
        "visual": {"patches": [pairs, tokens, 4, 1176], "places": [tokens, 4, 2]},
        "connector": {
            "visual": [pairs, rows // 2, columns // 2, 6],
            "layer_1": [2 * pairs, rows, columns, 4],
        },
    }


def write(
    folder: Path,
    seed: int = 0,
    most: tuple[int, int, int] = (16, 8, 10),
    precision: str = "fp32",
    least: int = 1,
) -> Path:
    """A folder for 1 to 16 frames of 4 x 4 to 8 x 10 patches.

    Args:
        seed: of the weights. most: frames, rows and columns. precision: what it says of itself. least: frames.
    """
    folder.mkdir(parents=True, exist_ok=True)
    noise, files = np.random.default_rng(seed), {}
    for name, text in GRAPHS.items():
        model = parser.parse_model(HEAD + text)
        for weight, shape in RANDOM[name].items():
            numbers = noise.standard_normal(shape, np.float32) / np.float32(np.sqrt(np.prod(shape[1:])))
            model.graph.initializer.append(numpy_helper.from_array(numbers, weight))
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, folder / f"{name}.onnx")
        points = {"min": (least, 4, 4), "opt": (max(least, min(4, most[0])), 6, 8), "max": most}
        profiles = {given: {p: shapes(*at)[name][given] for p, at in points.items()} for given in shapes(1, 4, 4)[name]}
        files[f"{name}.onnx"] = {"profiles": profiles}
    vggt = {"patch_size": 14, "img_size": 112, "geometry": ["layer_0", "layer_1", "layer_0", "layer_1"], "shown": 8}
    about = {
        "format": 1,
        "model": "0" * 64,
        "precision": precision,
        "vggt": vggt,
        "connector": "layer_1",
        "files": files,
    }
    (folder / "encoders.json").write_text(json.dumps(about))
    return folder
