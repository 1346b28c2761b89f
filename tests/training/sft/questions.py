"""A data set small enough to train on in seconds: pictures of one colour with a bright square, and questions."""

import json
from pathlib import Path

import cv2
import numpy as np

KINDS = (
    ("depth_estimation_dot", "scalar", lambda n: 1000 + 7 * n, "How far is it, in millimetres?"),
    ("camera_yaw_degrees", "scalar", lambda n: 10 + n, "By how many degrees did the camera turn?"),
    ("camera_left_right", "choice", lambda n: ("left", "right")[n % 2], "Did it move left or right?"),
    ("camera_vector", "vector", lambda n: [10 * n, -20, 300], "Where to did it move, as a vector in mm?"),
    ("correspondence_coordinate", "pixel", lambda n: f"[{40 * n}, 500]", "Where is it in the second image?"),
    ("not_observed", "scalar", lambda n: "not observed", "How tall is the unicorn, in millimetres?"),
)


def picture(seed: int) -> np.ndarray:
    """RGB uint8 [56, 84, 3]."""
    rng = np.random.default_rng(seed)
    image = np.full((56, 84, 3), rng.integers(0, 128, 3), np.uint8)
    u, v = rng.integers(0, 60), rng.integers(0, 36)
    image[v : v + 20, u : u + 20] = 255
    return image


def record(number: int, images: list[str]) -> dict:
    kind, output, truth, asked = KINDS[number % len(KINDS)]
    options = ["left", "right"] if output == "choice" else []
    return {
        "id": f"{kind}-{number}",
        "question_type": kind,
        "images": images,
        "conversations": [
            {"from": "human", "value": "<image>\n" * len(images) + asked},
            {"from": "gpt", "value": f"It is {truth(number)}, I think."},
        ],
        "gt_value": truth(number),
        "meta": {"output": output, "options": options, "image_size": [84, 56]},
    }


def write_questions(folder: Path, count: int = 12, images: int = 2, split: str = "train") -> Path:
    """A folder as ``multispa generate`` writes it; record n shows pictures n .. n + images - 1."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for n in range(count + images):
        cv2.imwrite(str(folder / "images" / f"{n}.png"), picture(n)[..., ::-1])
    lines = [json.dumps(record(n, [f"images/{n + i}.png" for i in range(images)])) for n in range(count)]
    (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder
