"""Questions and answers as the page shows them."""

from math import isnan
from typing import Any

from ..frames import Frame
from ..mllm import Answer, AnswerType
from ..scene.asking import Asked
from ..scene.memory import FrameKey
from .pictures import data_uri

THUMBNAIL = 168  # pixels wide


def answer_card(asked: Asked, frames: dict[FrameKey, Frame], start_ns: int) -> dict[str, Any]:
    """One question and its answer; ``frames`` holds those that the recording has of its evidence."""
    answer, question = asked.answer, asked.question
    mark = answer.vector[:2] if question.answer_type == AnswerType.PIXEL and asked.has_vector else None  # pixels
    return {
        "question": question.text,
        "answer": answer.text,
        "detail": said if (said := detail(asked)) != answer.text else "",
        "options": [(text, index == answer.choice) for index, text in enumerate(question.options)],
        "truth": asked.truth,
        "right": {None: "", True: "right", False: "wrong"}[asked.right],
        "verdict": answer.verdict.name.lower().replace("_", " "),
        "confidence": f"{answer.confidence:.2f}",
        "share": round(100 * min(1.0, max(0.0, answer.confidence)), 1),
        "reasoning": answer.reasoning,
        "note": answer.note,
        "seconds": seconds(answer),
        "evidence": [
            {
                "time": f"{(stamp - start_ns) / 1e9:.2f} s",
                "camera": camera,
                "image": data_uri(frames.get((stamp, camera)), THUMBNAIL, mark=mark if number == 0 else None),
            }
            for number, (stamp, camera) in enumerate(asked.evidence)
        ],
    }


def seconds(answer: Answer) -> str:
    encode = f"{answer.seconds_encode:.2f} s to encode" if answer.seconds_encode else "frames known already"
    return f"{encode}, {answer.seconds_generate:.2f} s to answer"


def detail(asked: Asked) -> str:
    """The number, pixel or vector of an answer in one line, or an empty string."""
    answer = asked.answer
    x, y, z = answer.vector
    if not isnan(answer.value):
        return f"{answer.value:.4g} {answer.unit}".strip()
    if not asked.has_vector:
        return ""
    if asked.question.answer_type == AnswerType.PIXEL:
        return "marked in the first frame"
    return f"{x:.3f} m right, {y:.3f} m down, {z:.3f} m forward, seen from the first frame"
