"""What a record should be answered: its own sentence, or the shortest text that says the same."""

from spatial_mllm_ros.mllm import AnswerType, Question
from spatial_mllm_ros.mllm.answering.refusal import REFUSAL
from spatial_mllm_ros.mllm.text.parsing import LETTERS

from ..benchmarks.suites.multispa import truth_of
from ..multispa.item import NOT_OBSERVED
from .records import Record, RecordFault


def answer_of(record: Record, how: str, question: Question) -> str:
    """The text that the model should say.

    Args:
        how: ``written``: the record's own; ``short``: from ``gt_value``, where it has one.
        question: as it is asked; a choice among listed options is answered by its letter.
    Raises:
        RecordFault: there is no answer.
    """
    if how == "short" and record["gt_value"] is not None:
        return short_answer(record, question)
    for turn in record["conversations"]:
        if turn["from"] == "gpt" and turn["value"].strip():
            return turn["value"].strip()
    raise RecordFault(f"{record['id']}: it has no answer")


def short_answer(record: Record, question: Question) -> str:
    """``gt_value`` in the fewest words that ``mllm.text.parsing`` reads.

    ``1734 mm``, ``23 degrees``, ``(120, -40, 300) mm``, ``(412, 633)``, ``left``, ``B``; of what is not to be seen, the
    refusal. Raises RecordFault where the value is none of these.
    """
    kind, value, output = record["question_type"], record["gt_value"], record["meta"].get("output", "")
    if kind == NOT_OBSERVED:
        return REFUSAL
    if question.answer_type == AnswerType.CHOICE:
        if value in question.options:
            return LETTERS[question.options.index(value)]
        if value in LETTERS[: len(question.options)]:
            return str(value)
        raise RecordFault(f"{record['id']}: gt_value {value!r} is none of {', '.join(question.options)}")
    try:
        if output == "scalar":
            return f"{round(truth_of(value, output, ()))} {'degrees' if kind.endswith('degrees') else 'mm'}"
        if output in ("vector", "pixel"):
            numbers = ", ".join(str(round(number)) for number in truth_of(value, output, ()))
            return f"({numbers}){' mm' if output == 'vector' else ''}"
    except (TypeError, ValueError, OverflowError):
        raise RecordFault(f"{record['id']}: gt_value {value!r} is no {output}") from None
    if not isinstance(value, str) or not value.strip():
        raise RecordFault(f"{record['id']}: gt_value {value!r}: expected a text")
    return value.strip()
