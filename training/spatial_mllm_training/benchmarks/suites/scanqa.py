"""ScanQA (Azuma et al., 2022): free answers about scanned rooms, with several references each.

Folder as published: ``ScanQA_v1.0_val.json`` (``train`` only where that is all there is); frames or videos of the
ScanNet scenes are looked for beside it, see ``find_media``.
"""

from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from ...multispa.item import bad
from ..language import METRICS as LANGUAGE
from ..language import exact_match, ptb_scores, refined_match, word_scores
from ..tables import Row, Table, task_table
from . import Item, find_media, read_json, take

TITLE = "ScanQA"
MAIN = "EM"
METRICS = {
    "EM": "equal to a reference; capitals, symbols, articles, digits for words and known misspellings aside",
    "refined EM": "contained in a reference, or containing one, spaces aside",
}
SPLITS = ("val", "train")
UNANSWERED = ("test_w_obj", "test_wo_obj")


def load(folder: Path) -> Iterator[Item]:
    """See ``Suite``."""
    file = _file(folder)
    rows = read_json(file)
    if not isinstance(rows, list):
        raise bad(f"{file.name}: expected a list of questions")
    media = cache(partial(find_media, file.parent))
    for number, row in enumerate(rows, 1):
        where = f"{file.name}, question {number}"
        question, scene = take(row, "question", str, where), take(row, "scene_id", str, where)
        answers = tuple(str(answer) for answer in take(row, "answers", list, where))
        if not answers:
            raise bad(f"{where}: 'answers' is empty")
        images, video = media(scene)
        name = str(take(row, "question_id", (str, int), where))
        meta = {"scene": scene}
        yield Item(name, topic(question), question, answers, "text", answers, images=images, video=video, meta=meta)


def _file(folder: Path) -> Path:
    if folder.is_file():
        return folder
    for split in SPLITS:
        if (file := folder / f"ScanQA_v1.0_{split}.json").is_file():
            return file
    if any((folder / f"ScanQA_v1.0_{split}.json").is_file() for split in UNANSWERED):
        raise bad(f"{folder} has only ScanQA's test splits, whose answers are not published: expected the val split")
    raise bad(f"{folder} has no ScanQA_v1.0_val.json: expected the published ScanQA folder")


def topic(question: str) -> str:
    """What a question is about, by the words that the authors' script looks for, in its order."""
    for topic, words in {
        "Place": ("Where",),
        "Number": ("How many",),
        "Color": ("What color", "What is the color"),
        "Object nature": ("What shape", "What type", "What kind"),
        "Object": ("What is",),
    }.items():
        if any(word in question for word in words):
            return topic
    return "Other"


def score(item: Item, text: Any) -> dict[str, float]:
    """See ``Suite``."""
    return matches(item, text, item.answers)


def matches(item: Item, text: Any, references: Sequence[str]) -> dict[str, float]:
    """The metrics of an answer by these references; one that cannot be read is empty."""
    said = item.read(text).said
    exact, refined = exact_match(said, references), refined_match(said, references)
    return {"EM": exact, "refined EM": refined, "error": 2 - exact - refined}


def tables(items: Sequence[Item], texts: Sequence[Any], scores: Sequence[dict[str, float]]) -> list[Table]:
    """See ``Suite``."""
    types = [item.question_type for item in items]
    references = {item.id: item.answers for item in items}
    given = {item.id: item.read(text).said for item, text in zip(items, texts, strict=True)}
    ptb, words = ptb_scores(references, given), word_scores(references, given)
    columns = {
        "PTB tokens": "lower case, without punctuation: the ScanQA authors' script",
        "words": "as written: published evaluations of video language models",
    }
    language = [Row(metric, len(items), [ptb[metric], words[metric]]) for metric in LANGUAGE]
    note = "pycocoevalcap's own figures times 100, CIDEr too. BLEU and METEOR are of the whole corpus."
    return [task_table("Questions", METRICS, types, scores), Table("Language metrics", columns, language, note)]
