"""What an answer is worth, by the rules of the benchmarks.

A score is a function of a question and of what was said, 0..1; which one counts is chosen by the kind of answer
(``scalar``, ``vector``, ``pixel``, ``choice``, ``text``). What cannot be read as an answer is worth nothing.

| score | kinds | what it is |
|---|---|---|
| ``right`` | all | the benchmark's rule: within 20 % of the norm, within 5 % of the width, else exactly; 0 or 1 |
| ``mean_relative`` | scalar | MRA (Yang et al., 2024, eq. 1) |
| ``closeness`` | scalar, vector, pixel | smooth: 1 / (1 + (error / limit)^2), 1/2 where ``right`` ends |
| ``edit_similarity`` | text | 1 - edit distance / longer length (as Spatial-MLLM, Wu et al., 2025) |

A question that cannot be answered is worth 1 when it is refused, whatever its kind.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spatial_mllm_ros.config import param
from spatial_mllm_ros.mllm.text.parsing import ANSWER, THINK, answer_span, plain

from ..benchmarks.reading import KINDS, is_number
from ..benchmarks.scoring import NORM_SHARE, WIDTH_SHARE, mean_relative_accuracy
from ..benchmarks.suites import Item, multispa
from ..multispa.item import NOT_OBSERVED, QUESTION_TYPES, bad
from ..sft.records import Record

LIMITS = {"scalar": float(NORM_SHARE), "vector": float(NORM_SHARE), "pixel": float(WIDTH_SHARE)}
MAX_COMPARED = 500  # characters of a text that edit distance looks at: its time grows with their square
TAGS = (*THINK, *ANSWER)
_FORM = re.compile(rf"\s*{THINK[0]}(.+){THINK[1]}\s*{ANSWER[0]}(.+){ANSWER[1]}\s*", re.DOTALL)

Score = Callable[[Item, str], float]
RewardFunction = Callable[..., list[float | None]]


def right(item: Item, said: str) -> float:
    """1 where the benchmark counts the answer as right, else 0."""
    return multispa.score(item, said)["accuracy"]


def mean_relative(item: Item, said: str) -> float:
    """Mean relative accuracy of a number, 0..1 in tenths; 0 where the truth is zero."""
    value = item.read(said).value
    return 0.0 if value is None else mean_relative_accuracy(float(value), item.truth)  # type: ignore[arg-type]


def closeness(item: Item, said: str) -> float:
    """1 for the truth, 1/2 at the benchmark's limit, towards 0 beyond; there is always something to gain."""
    return 1.0 / (1.0 + (multispa.score(item, said)["error"] / LIMITS[item.kind]) ** 2)


def edit_similarity(item: Item, said: str) -> float:
    """Share of the longer text that need not be edited to make the reference of the answer, 0..1.

    Case, outer quotes and the full stop do not count; nor does what is behind the first 500 characters.
    """
    read = item.read(said)
    got, wanted = (plain(text)[:MAX_COMPARED] for text in (read.said, answer_of(item.answers[0])))
    return 1.0 - edit_distance(got, wanted) / max(len(got), len(wanted)) if got and not read.refused else 0.0


SCORES: dict[str, tuple[Score, tuple[str, ...]]] = {
    "right": (right, KINDS),
    "mean_relative": (mean_relative, ("scalar",)),
    "closeness": (closeness, tuple(LIMITS)),
    "edit_similarity": (edit_similarity, ("text",)),
}
"""Name -> score, and the kinds of answers that it applies to."""


def names_for(kind: str) -> tuple[str, ...]:
    """Scores of a kind of answer."""
    return tuple(name for name, (_, kinds) in SCORES.items() if kind in kinds)


def well_formed(said: str) -> float:
    """1 where it is thoughts and then an answer between their tags, each pair once and neither empty; else 0."""
    found = _FORM.fullmatch(said) if all(said.count(tag) == 1 for tag in TAGS) else None
    return float(bool(found and found[1].strip() and found[2].strip()))


def wrong_refusal(item: Item, said: str) -> float:
    """-1 where a question is refused that the images answer, else 0."""
    return -1.0 if item.question_type != NOT_OBSERVED and item.read(said).refused else 0.0


def overlong(tokens: int, free: int, limit: int) -> float:
    """0 up to ``free`` tokens, falling evenly to -1 at ``limit`` (DAPO, Yu et al., 2025, eq. 13)."""
    if tokens <= free:
        return 0.0
    return -1.0 if tokens >= limit else (free - tokens) / (limit - free)


@dataclass(frozen=True)
class RewardRecipe:
    """How completions are sampled, and which rewards count how much: their weighted sum is what is made larger.

    Options are scored by ``right``, as are all questions that cannot be answered.
    """

    score_scalar: str = param("mean_relative", "score of numbers", choices=names_for("scalar"))
    score_vector: str = param("right", "score of vectors", choices=names_for("vector"))
    score_pixel: str = param("right", "score of pixels", choices=names_for("pixel"))
    score_text: str = param("edit_similarity", "score of free text", choices=names_for("text"))
    weight_answer: float = param(1.0, "of that score, 0..1", low=0.0, high=100.0)
    weight_form: float = param(
        1.0, "of thoughts and answer between their tags, 0..1; with reasoning", low=0.0, high=100.0
    )
    weight_refusal: float = param(
        0.5, "of the penalty, -1..0, for refusing what the images answer", low=0.0, high=100.0
    )
    weight_length: float = param(0.0, "of the penalty, -1..0, for long completions", low=0.0, high=100.0)
    free_tokens: int = param(256, "of a completion that are not penalised; max_tokens costs all", low=0, high=1_000_000)
    reasoning: bool = param(True, "ask for thoughts before the answer")
    max_tokens: int = param(512, "tokens of a completion at most", low=1, high=100_000)
    temperature: float = param(1.0, "of sampling", low=0.01, high=10.0)

    def score(self, item: Item) -> Score:
        """The score of a question's answers."""
        if item.question_type == NOT_OBSERVED or item.kind == "choice":
            return right
        return SCORES[getattr(self, f"score_{item.kind}")][0]

    def functions(self) -> list[tuple[RewardFunction, float]]:
        """Reward functions as TRL calls them, with their weights; those of weight 0 are left out.

        Each takes ``completions`` (texts), ``completion_ids`` (their tokens) and ``record`` (what was asked), one of
        each for each completion, and gives a reward for each.
        """

        def answer(completions: Sequence[str], record: Sequence[Record], **_: Any) -> list[float | None]:
            items = [item_of(one) for one in record]
            return [self.score(item)(item, said) for item, said in zip(items, completions, strict=True)]

        def form(completions: Sequence[str], **_: Any) -> list[float | None]:
            return [well_formed(said) for said in completions]

        def refusal(completions: Sequence[str], record: Sequence[Record], **_: Any) -> list[float | None]:
            return [wrong_refusal(item_of(one), said) for one, said in zip(record, completions, strict=True)]

        def length(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float | None]:
            free = min(self.free_tokens, self.max_tokens - 1)
            return [overlong(len(ids), free, self.max_tokens) for ids in completion_ids]

        weighted: list[tuple[RewardFunction, float]] = [
            (answer, self.weight_answer),
            (form, self.weight_form if self.reasoning else 0.0),
            (refusal, self.weight_refusal),
            (length, self.weight_length),
        ]
        return [(function, weight) for function, weight in weighted if weight]


def item_of(record: Record) -> Item:
    """What is asked and what is right, from a record as ``sft.records`` gives it.

    Records that ``multispa generate`` did not write: options make a choice, a number a scalar, anything else a text
    whose reference is the record's own answer.

    Raises:
        SpatialError: BAD_REQUEST where the record has no answer, or one that does not fit.
    """
    where = f"record {record['id']}"
    meta = record["meta"]
    if record["question_type"] in QUESTION_TYPES and "output" in meta:
        return multispa.item_of({**record, "images": []}, Path(), where)
    said = {turn["from"]: turn["value"].strip() for turn in reversed(record["conversations"])}
    if not said.get("human") or not said.get("gpt"):
        raise bad(f"{where}: expected a question and its answer in 'conversations'")
    truth = answer_of(said["gpt"]) if record["gt_value"] is None else record["gt_value"]
    options = tuple(str(option) for option in meta.get("options") or ())
    kind = "choice" if options else "scalar" if is_number(truth) else "text"
    try:
        truth = multispa.truth_of(truth, kind, options)
    except (ValueError, TypeError):
        raise bad(f"{where}: {truth!r} is none of its options {', '.join(options)}") from None
    answers = (said["gpt"],)
    return Item(record["id"], record["question_type"], said["human"], answers, kind, truth, "", options, meta=meta)


def answer_of(text: str) -> str:
    """The answer in a text, without thoughts and tags."""
    start, end = answer_span(text)
    return text[start:end].strip()


def edit_distance(a: str, b: str) -> int:
    """Fewest insertions, deletions and replacements of characters from one to the other (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        above, row = row, [i]
        for j, other in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (letter != other)))
    return row[-1]
