"""Records written by hand, one of each kind of answer, as ``sft.records`` gives them."""

from pathlib import Path
from typing import Any

SIZE = [640, 480]


def record(question_type: str, output: str, value: Any, answer: str = "", **meta: Any) -> dict[str, Any]:
    return {
        "id": f"{question_type}-{value}",
        "question_type": question_type,
        "images": [Path("a.png"), Path("b.png")],
        "videos": [],
        "conversations": [
            {"from": "human", "value": "<image>\n<image>\nA question?"},
            {"from": "gpt", "value": answer or f"{value}"},
        ],
        "gt_value": value,
        "meta": {"output": output, "image_size": SIZE, "options": [], **meta},
    }


DEPTH = record("depth_estimation_dot", "scalar", 2000)
YAW = record("camera_yaw_degrees", "scalar", 40)
VECTOR = record("camera_vector", "vector", [300, 0, -400])
PIXEL = record("correspondence_coordinate", "pixel", "[500, 500]")
WORD = record("camera_left_right", "choice", "left", options=["left", "right"])
LETTER = record("depth_comparison_dot", "choice", "B", options=["A", "B"])
UNSEEN = record("not_observed", "scalar", "not observed", "It is not visible.", bins={"asks": "depth_estimation_dot"})
OTHER = {
    "id": "scanqa-1",
    "question_type": "general",
    "images": [Path("a.png")],
    "videos": [],
    "conversations": [{"from": "human", "value": "What is on the desk?"}, {"from": "gpt", "value": "a brown box"}],
    "gt_value": None,
    "meta": {},
}
