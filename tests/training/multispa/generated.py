"""A small generated folder, written by hand: records of several types with their images."""

import json

import cv2
import numpy as np
import pyarrow as pa
from pyarrow import parquet

from spatial_mllm_training.multispa.dots import draw
from spatial_mllm_training.multispa.item import Point

WIDTH, HEIGHT = 160, 120
MANIFEST = {
    "shards": {
        "bag-kitchen": {"proposed": {"dropped": {"no pose": 2}}, "written": {}, "depends": "1f"},
        "bag-flat": {"proposed": {"dropped": {"no pose": 1, "cut short": 1}}},
        "bag-dark": {"proposed": {"error": "not a bag <b>&"}},
    },
    "skipped": {
        "bag/kitchen": "object_motion: no tracks: a bag",
        "bag/flat": "object_motion: no tracks: a bag",
        "bag/dark": "not a bag <b>&",
    },
    "faults": {"frame: cut short": 1},
}


def image(shade, points=(), referring="", output="scalar"):
    """A picture with structure, uint8 [120, 160, 3], and dots on it."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    picture = np.stack([u + shade, v + shade, (u + v) // 2], axis=2).astype(np.uint8)
    return draw(picture, points, referring, output)


def record(number, kind, value, answer, images=1, question="How far?", split="train", **meta):
    known = {"scene": "bag/kitchen", "stamps_ns": [10**9 * (i + 1) for i in range(images)], "split": split}
    known |= {"image_size": [WIDTH, HEIGHT], "cameras": ["camera"] * images, "bins": {}, **meta}
    said = [("human", "<image>\n" * images + question), ("gpt", answer)]
    return {
        "id": f"{kind}-{number}",
        "question_type": kind,
        "images": [f"images/{kind}-{number}-{i}.jpg" for i in range(images)],
        "conversations": [{"from": who, "value": text} for who, text in said],
        "gt_value": value,
        "meta": known,
    }


def read_parquet(path):
    """Records of a file, images as their names: the same as those of the lines."""
    for row in parquet.read_table(path).to_pylist():
        names = [image["path"] for image in row["images"]]
        yield row | {name: json.loads(row[name]) for name in ("gt_value", "meta")} | {"images": names}


def records():
    """Six types; letters A A B C, depths in the hundreds and thousands, one pixel answer, one refusal."""
    dot = {"referring": "dot", "output": "scalar", "pixel_images": [0]}
    for i, depth in enumerate((812, 845, 1730)):
        yield record(
            i, "depth_estimation_dot", depth, f"{depth} mm", pixels=[[30 + i, 40]], bins={"depth": depth // 500}, **dot
        )
    for i, letter in enumerate("AABC"):
        pixels = [[80, 60], [20, 30], [130, 30], [20, 90], [130, 90]]
        choice = {"referring": "dot", "output": "choice", "pixels": pixels, "pixel_images": [0, 1, 1, 1, 1]}
        choice["options"] = list("ABCD")
        split = "test" if letter == "C" else "train"
        yield record(
            i,
            "correspondence_choice",
            letter,
            letter,
            2,
            split=split,
            bins={"letter": letter, "overlap": 6 + i},
            **choice,
        )
    pixel = {"referring": "coordinate", "output": "pixel", "pixels": [[80, 60]], "pixel_images": [0]}
    yield record(0, "correspondence_coordinate", "[500, 900]", "It is at [500, 900].", 2, bins={"overlap": 12}, **pixel)
    yield record(0, "camera_vector", [300.0, 0.0, -400.0], "300 right, 400 back", 2, output="vector")
    yield record(0, "camera_yaw_degrees", 37, "37 degrees", 2, output="scalar")
    text = 'Where is the <b>unicorn</b> & its "horn"?'
    yield record(
        0, "not_observed", "not observed", "I do not see it.", question=text, output="text", label="<i>horn</i>"
    )


def write_folder(folder):
    """The layout that ``multispa generate`` writes; returns the folder."""
    for split in ("train", "test"):
        (folder / "annotations" / split).mkdir(parents=True)
    (folder / "images").mkdir()
    (folder / "candidates").mkdir()
    rows = []
    for known in records():
        meta = known["meta"]
        with (folder / "annotations" / meta["split"] / "kitchen.jsonl").open("a") as file:
            file.write(json.dumps(known) + "\n")
        rows += [(f"{known['id']}-{i}", known["question_type"], json.dumps(meta["bins"])) for i in range(3)]
        for i, path in enumerate(known["images"]):
            pixels = zip(meta.get("pixel_images", ()), meta.get("pixels", ()))
            names = iter("ABCD")
            points = [
                Point(at, u, v, next(names) if at and meta["output"] == "choice" else "") for at, (u, v) in pixels
            ]
            points = [point for point in points if point.image == i]
            stored = image(40 * i, points, meta.get("referring", ""), meta["output"])
            cv2.imwrite(str(folder / path), stored[..., ::-1])
    rows.append(("more", "depth_estimation_dot", json.dumps({"depth": 9})))
    names = ("id", "question_type", "bins")
    parquet.write_table(pa.table(dict(zip(names, map(list, zip(*rows))))), folder / "candidates" / "kitchen.parquet")
    (folder / "manifest.json").write_text(json.dumps(MANIFEST))
    return folder
