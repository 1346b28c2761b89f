"""Language metrics against cases worked out by hand, and pycocoevalcap's scorers called as its authors do."""

import shutil
from math import exp, isnan, log, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_training.benchmarks import language
from spatial_mllm_training.benchmarks.language import (
    METRICS,
    NO_JAVA,
    exact_match,
    normal,
    ptb_scores,
    refined_match,
    token_scores,
    tokenize,
    word_scores,
)

coco = pytest.importorskip("pycocoevalcap")
java = pytest.mark.skipif(shutil.which("java") is None, reason="METEOR and the Penn Treebank tokenizer need Java")

REFERENCES = {"1": ["the brown chair"], "2": ["on top of the desk", "on the desk"], "3": ["4"]}
PREDICTIONS = {"1": "the brown table", "2": "on the desk", "3": "four"}


@pytest.fixture
def no_java(monkeypatch):
    monkeypatch.setattr(language.shutil, "which", lambda name: None)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("  The  Brown Chair. ", "brown chair"),
        ("a an the", "the"),  # as published: an article goes where a word follows it
        ("2", "two"),
        ("20 or 21", "twenty or 21"),
        ("None", "zero"),
        ("letf", "left"),
        ("let", "left"),
        ("TV", "TV"),
        ("3 oclock", "three o'clock"),
        ("3 o'  clock", "three o'clock"),
        ("chair2", "chair"),
        ("backwards", "backward"),
        ("Yes!?", "yes"),
        ("twenty-three", "twenty-three"),
        ("23", "twenty-three"),
        ("stuhl für", "stuhl fr"),
        ("", ""),
        ("?!", ""),
    ],
)
def test_normal_form(text, wanted):
    assert normal(text) == wanted


@pytest.mark.parametrize(
    ("said", "references", "exact", "refined"),
    [
        ("Brown.", ["brown"], 1, 1),
        ("2", ["two"], 1, 1),
        ("the left", ["left"], 1, 1),
        ("brown chair", ["brown"], 0, 1),
        ("brown", ["dark brown"], 0, 1),
        ("book shelf", ["bookshelf"], 0, 1),
        ("blue", ["red", "blue"], 1, 1),
        ("blue", ["red"], 0, 0),
        ("", ["red"], 0, 0),  # taken literally, nothing is contained in everything
        ("...", ["red"], 0, 0),
        ("red", ["..."], 0, 0),
        ("braun", ["brown"], 0, 0),
    ],
)
def test_matches(said, references, exact, refined):
    assert (exact_match(said, references), refined_match(said, references)) == (exact, refined)


@given(st.text(max_size=40), st.text(max_size=40))
def test_refined_holds_exact(said, reference):
    if normal(said).strip() and exact_match(said, [reference]):
        assert refined_match(said, [reference])


def test_bleu_by_hand(no_java):
    """Words: the, brown; on, the, desk; none: 5 of 7. Pairs: the brown, on the, the desk: 3 of 4. Triples: on the desk,
    1 of 2. Seven words stand against 3 + 3 + 1 in the closest references."""
    found = token_scores(REFERENCES, PREDICTIONS)
    precision = 5 / 7, 3 / 4, 1 / 2
    for n in (1, 2, 3):
        assert found[f"BLEU-{n}"].value == pytest.approx(exp(sum(map(log, precision[:n])) / n), rel=1e-6)
    assert isnan(found["BLEU-1"].low) and found["BLEU-1"].n == 3


def test_bleu_is_shorter_for_short_answers(no_java):
    found = token_scores({"1": ["a b c d"]}, {"1": "a b"})
    assert found["BLEU-1"].value == pytest.approx(exp(1 - 4 / 2), rel=1e-6)


def test_rouge_by_hand(no_java):
    """F with beta 1.2 of the longest common subsequence: 2 of 3 and 3; 3 of 3 and 3; nothing."""
    assert token_scores(REFERENCES, PREDICTIONS)["ROUGE-L"].value == pytest.approx((2 / 3 + 1 + 0) / 3)
    precision, recall, beta = 2 / 2, 2 / 4, 1.2**2
    wanted = (1 + beta) * precision * recall / (recall + beta * precision)
    assert token_scores({"1": ["a b c d"]}, {"1": "a d"})["ROUGE-L"].value == pytest.approx(wanted)


def test_cider_by_hand(no_java):
    """Two documents, words in one of them weigh log 2: vectors of single words, equal or at a right angle."""
    found = token_scores({"1": ["a"], "2": ["b c"]}, {"1": "a", "2": "b d"})
    single = 10 * 1.0 / 4  # equal in n-grams of one word, none of more
    half = 10 / 4 * (log(2) ** 2 / (log(2) * sqrt(2) * sqrt(log(2) ** 2 + log(2) ** 2)))  # b of (b, c), of (b, d)
    assert found["CIDEr"].value == pytest.approx((single + half) / 2, rel=1e-9)


def test_the_same_as_the_library(no_java):
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    found, given_ = token_scores(REFERENCES, PREDICTIONS), {name: [text] for name, text in PREDICTIONS.items()}
    assert [found[f"BLEU-{n}"].value for n in (1, 2, 3, 4)] == Bleu(4).compute_score(REFERENCES, given_, verbose=0)[0]
    assert found["ROUGE-L"].value == pytest.approx(Rouge().compute_score(REFERENCES, given_)[0], abs=1e-15)
    assert found["CIDEr"].value == pytest.approx(Cider().compute_score(REFERENCES, given_)[0], abs=1e-15)


def test_words_are_as_written_but_for_the_last_stop(no_java):
    found = word_scores({"1": ["a chair"]}, {"1": "a  chair."})
    assert found["BLEU-2"].value == pytest.approx(1)
    assert word_scores({"1": ["a chair"]}, {"1": "A chair"})["BLEU-1"].value == pytest.approx(0.5)


def test_without_java_nothing_stands_in(no_java):
    assert ptb_scores(REFERENCES, PREDICTIONS) == dict.fromkeys(METRICS, NO_JAVA)
    words = word_scores(REFERENCES, PREDICTIONS)
    assert words["METEOR"] == NO_JAVA and words["BLEU-1"].value > 0


def test_empty_answers_score_nothing(no_java):
    found = word_scores({"1": ["a"], "2": ["b c"]}, {"1": "", "2": "."})
    assert all(found[name].value == pytest.approx(0, abs=1e-6) for name in METRICS if name != "METEOR")


def test_nothing_to_compare(no_java):
    assert set(word_scores({}, {}).values()) == {"not available: nothing to compare"}


def test_very_long_answers_are_compared_in_part(no_java):
    found = word_scores({"1": ["a b c"]}, {"1": "a b c " * 100_000})
    assert 0 < found["ROUGE-L"].value < 1


@java
def test_penn_treebank_tokens():
    lines = ["It's brown, isn't it?", "a\u2028b\rc\nd", "", "椅子", "?", "last"]
    assert tokenize(lines) == ["it 's brown is n't it", "a b c d", "", "椅子", "", "last"]
    assert tokenize(["", " "]) == ["", ""]


@java
@pytest.mark.slow
def test_all_metrics_over_penn_treebank_tokens():
    """The same words, but for capitals and a full stop, are perfect."""
    same = {"1": "The brown chair.", "2": "On top of the desk", "3": "four big windows there"}
    found = ptb_scores({name: [text.lower()] for name, text in same.items()}, same)
    assert found["METEOR"].value == pytest.approx(1) and found["BLEU-1"].value == pytest.approx(1)
    assert found["ROUGE-L"].value == 1 and found["METEOR"].n == 3


@java
@pytest.mark.slow
def test_meteor_of_difficult_text():
    references = {"1": ["a chair"], "2": ["b"], "3": ["c"]}
    found = token_scores(references, {"1": "a ||| chair", "2": "", "3": "\ud800 c"})
    assert 0 < found["METEOR"].value <= 1
