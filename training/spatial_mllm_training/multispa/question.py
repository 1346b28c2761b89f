"""How a model is asked a record: the same by who trains it, calibrates it and scores it."""

from typing import Any

from spatial_mllm_ros.mllm import AnswerType, Question

from .item import output_of

TYPES = {"scalar": AnswerType.NUMBER, "vector": AnswerType.VECTOR, "pixel": AnswerType.PIXEL}


def question_of(record: dict[str, Any]) -> Question:
    """A record as the model is asked it. Options that its text already names are not listed again.

    What cannot be answered is asked for in the same form as if it could: the form must not tell. ``with_reasoning`` in
    ``meta`` asks for thoughts.
    """
    text, meta = record["conversations"][0]["value"].replace("<image>", "").strip(), record["meta"]
    options = tuple(option for option in meta.get("options") or () if isinstance(option, str))
    thinking = bool(meta.get("with_reasoning"))
    if options and not all(option in text for option in options):
        return Question(text, options, AnswerType.CHOICE, thinking)
    asks = (meta.get("bins") or {}).get("asks")
    output = output_of(asks) if asks else meta.get("output", "")
    return Question(text, answer_type=TYPES.get(output, AnswerType.TEXT), with_reasoning=thinking)
