"""How well words match reference answers: exact, refined, and the n-gram metrics of pycocoevalcap."""

import re
import shutil
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np

from spatial_mllm_ros.mllm.text.quantity import COUNTS

from .scoring import Estimate, estimate

NO_JAVA = "not available: needs Java"
NO_PACKAGE = "not available: pip install pycocoevalcap"
METRICS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")
MAX_WORDS = 200  # of a prediction that are compared; ROUGE-L takes their number times the reference's

References = Mapping[str, Sequence[str]]
Scores = dict[str, Estimate | str]

_TEENS = ["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"]
_WORDS = {str(number): word for number, word in enumerate([*COUNTS, *_TEENS])}
_REPLACED = _WORDS | {
    "23": "twenty-three",
    "none": "zero",
    "tv": "TV",
    "oclock": "o'clock",
    **{wrong: "left" for wrong in ("letf", "let")},
    **{wrong: "right" for wrong in ("rigth", "rght")},
    "tehre": "there",
    "behine": "behind",
    "chai": "chair",
    "wasing": "washing",
    "waslked": "walked",
}
_REPLACE = re.compile(rf"\b(?:{'|'.join(_REPLACED)})\b")


def normal(text: str) -> str:
    """An answer as SQA3D's evaluation compares it (Ma et al., 2023; Huang et al., 2024): lower case, no symbols, the
    known misspellings of its annotations corrected, digits as words, no articles."""
    text = re.sub(r"[^a-z0-9,'\s\-:]+", "", " ".join(text.lower().split())).strip()
    text = _REPLACE.sub(lambda found: _REPLACED[found.group()], re.sub(r"\bo' +clock\b", "o'clock", text))
    text = re.sub(r"\b([a-zA-Z]+)[0-9]\b", r"\1", text)
    for article in ("a", "an", "the"):
        text = re.sub(rf"\b{article}\b ([a-zA-Z]+)", r"\1", text)
    return re.sub(r"\bbackwards\b", "backward", text)


def exact_match(said: str, references: Sequence[str]) -> float:
    """EM: 1 where the normal form is that of a reference."""
    return float(normal(said) in {normal(reference) for reference in references})


def refined_match(said: str, references: Sequence[str]) -> float:
    """Refined EM (Huang et al., 2024): 1 where one of answer and reference contains the other, spaces aside.

    An answer that has nothing to compare is wrong; taken literally, everything would contain it.
    """
    got = "".join(normal(said).split())
    wanted = ["".join(normal(reference).split()) for reference in references]
    return float(bool(got) and any(got in one or (one and one in got) for one in wanted))


def ptb_scores(references: References, predictions: Mapping[str, str]) -> Scores:
    """All METRICS over Penn Treebank tokens, as the ScanQA authors' script takes them; needs Java."""
    if missing := unavailable():
        return dict.fromkeys(METRICS, missing)
    tokens = tokenize([*(text for texts in references.values() for text in texts), *predictions.values()])
    if tokens is None:
        return dict.fromkeys(METRICS, "not available: the tokenizer of pycocoevalcap failed")
    taken = iter(tokens)
    wanted = {name: [next(taken) for _ in texts] for name, texts in references.items()}
    return token_scores(wanted, {name: next(taken) for name in predictions})


def word_scores(references: References, predictions: Mapping[str, str]) -> Scores:
    """All METRICS over the words as they were written, without a full stop at the end of predictions: the convention of
    the published evaluations of video language models. Only METEOR needs Java."""
    return token_scores(
        {name: [" ".join(text.split()) for text in texts] for name, texts in references.items()},
        {name: " ".join(text.split()).rstrip(".") for name, text in predictions.items()},
    )


def token_scores(references: References, predictions: Mapping[str, str]) -> Scores:
    """All METRICS over texts whose tokens are separated by single spaces.

    BLEU and METEOR are of the whole corpus and have no interval; ROUGE-L and CIDEr are means over answers. CIDEr is in
    its own unit, of which 10 is the most.
    """
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge
    except ImportError:
        return dict.fromkeys(METRICS, NO_PACKAGE)
    if not predictions:
        return dict.fromkeys(METRICS, "not available: nothing to compare")
    wanted = {name: list(references[name]) for name in predictions}
    given = {name: [" ".join(text.split()[:MAX_WORDS])] for name, text in predictions.items()}
    bleu, _ = Bleu(4).compute_score(wanted, given, verbose=0)
    _, rouge = Rouge().compute_score(wanted, given)
    with np.errstate(invalid="ignore", divide="ignore"):
        _, cider = Cider().compute_score(wanted, given)
    found: Scores = {f"BLEU-{n}": Estimate(float(score), n=len(given)) for n, score in enumerate(bleu, 1)}
    found["METEOR"] = meteor(wanted, given)
    return found | {"ROUGE-L": estimate(rouge), "CIDEr": estimate(cider)}


def meteor(references: Mapping[str, list[str]], predictions: Mapping[str, list[str]]) -> Estimate | str:
    """METEOR of the whole corpus, by its authors' program."""
    if missing := unavailable():
        return missing
    from pycocoevalcap.meteor.meteor import Meteor

    wanted, given = ({k: [_plain_line(t) for t in v] for k, v in texts.items()} for texts in (references, predictions))
    scorer: Any = Meteor()
    try:
        score, _ = scorer.compute_score(wanted, given)
    except (OSError, ValueError):
        return "not available: Java could not run METEOR"
    finally:
        scorer.lock = Lock()  # after a failure it is held, and its __del__ would wait for it
        scorer.meteor_p.stdout.close()
        scorer.meteor_p.stderr.close()
    return Estimate(float(score), n=len(predictions))


def tokenize(texts: Sequence[str]) -> list[str] | None:
    """Penn Treebank tokens of texts, lower case and without punctuation; None where the tokenizer failed."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    lines = [" ".join(text.encode("utf-8", "replace").decode().split()[:MAX_WORDS]) for text in texts]
    asked = [line for line in lines if line]
    try:
        found = PTBTokenizer().tokenize({str(i): [{"caption": line}] for i, line in enumerate(asked)})
    except (OSError, ValueError):
        return None
    if len(found) != len(asked):
        return None
    taken = iter(range(len(asked)))
    return [found[str(next(taken))][0] if line else "" for line in lines]


def unavailable() -> str:
    """Why what needs Java cannot run; empty where it can."""
    try:
        import pycocoevalcap  # noqa: F401
    except ImportError:
        return NO_PACKAGE
    return "" if shutil.which("java") else NO_JAVA


def _plain_line(text: str) -> str:
    return " ".join(text.encode("utf-8", "replace").decode().replace("|||", " ").split())
