"""Records about a dark and a bright clip, written as an annotation file."""

import json

import cv2
import numpy as np

SHADES = (20, 230)
ANSWERS = ("the left of the front", "an in on is far right")


def write_records(folder, count=8, broken=()):
    """Records about the dark and the bright clip in turn, each of two images, as JSON lines; returns the folder.

    Args:
        broken: numbers of records whose images are missing.
    """
    (folder / "images").mkdir(parents=True)
    for shade in SHADES:
        for i in range(2):
            cv2.imwrite(str(folder / f"images/{shade}-{i}.png"), np.full((56, 56, 3), shade, np.uint8))
    lines = []
    for n in range(count):
        images = [f"images/{'missing' if n in broken else SHADES[n % 2]}-{i}.png" for i in range(2)]
        said = [("human", "<image>\n<image>\nWhat is this?"), ("gpt", ANSWERS[n % 2])]
        lines.append(
            {
                "id": f"r{n}",
                "question_type": ("dark", "bright")[n % 2],
                "images": images,
                "conversations": [{"from": who, "value": text} for who, text in said],
            }
        )
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
