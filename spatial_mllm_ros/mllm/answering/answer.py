"""One question about an encoded clip: what to say, how sure, and whether to say it at all."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import exp, inf, isnan
from time import perf_counter

import torch
from torch import Tensor

from ...errors import ErrorCode, SpatialError
from ..calibration import Calibration, answer_kind
from ..families.base import Model, Stop
from ..families.clip import EncodedClip
from ..question import Answer, Question, Verdict
from ..text.nonsense import is_nonsense
from ..text.parsing import ANSWER, LETTERS, THINK, answer_span, parse
from .decode import TextStream, Turn
from .refusal import REFUSAL, probability

OnText = Callable[[str], None]
OPENINGS = 8  # first words that refusals may have, in one place
UNTRAINED = "answered without reasoning, which the model was not trained for"
GARBLED = "answered without reasoning, which came out as nonsense"
UNREASONED = "the model gave no reasoning"


@dataclass(frozen=True)
class Draft:
    """An answer before it is decided whether to give it.

    Attributes:
        before: tokens between the clip and the answer itself.
        score: mean log-probability of the answer's tokens; None where there are none.
        first: the first of those tokens.
        garbled: what was thought, or said, is nonsense.
    """

    answer: Answer
    before: list[int]
    score: float | None
    first: int | None = None
    garbled: bool = False


@dataclass(frozen=True)
class Speech:
    """What the model said after the tokens ``asked``: its tokens, their log-probabilities and their text.

    Attributes:
        whole: it came to its end; otherwise it was cut off, and there is no telling what it would have been.
    """

    asked: list[int]
    tokens: list[int]
    scores: list[float]
    stream: TextStream
    whole: bool = True

    def draft(self, question: Question) -> Draft:
        """The words, read as what was asked for; as sure as their tokens were likely (geometric mean)."""
        text = self.stream.text
        start, end = answer_span(text)
        part = self.stream.tokens_of(skip_spaces(text, start), end)
        scores = [self.scores[i] for i in part]
        score = sum(scores) / len(scores) if scores else None
        read = parse(text, question)
        if not self.whole and read.verdict != Verdict.UNSURE:
            read = Answer(Verdict.UNSURE, text[start:end].strip(), reasoning=read.reasoning)
        if not self.whole:
            read = read.noted(f"cut off after {len(self.tokens)} tokens")
        read = replace(read, confidence=0.0 if score is None else exp(score))
        first = self.tokens[part.start] if part else None
        return Draft(read, self.asked + self.tokens[: part.start], score, first, is_nonsense(text))

    def up_to_answer(self, encode: Callable[[str], list[int]]) -> list[int]:
        """All tokens before the answer; where it was never begun, it begins after what was said."""
        text = self.stream.text
        tag = next((tag for tag in (ANSWER[0], THINK[1]) if tag in text), None)
        start = skip_spaces(text, text.rfind(tag) + len(tag)) if tag else len(text)
        if start < len(text):
            first = self.stream.tokens_of(start, start + 1).start
            shared = text[self.stream.starts[first] : start]  # one token may end the tag and begin the answer
            return self.asked + self.tokens[:first] + encode(shared)
        begin = {ANSWER[0]: "", THINK[1]: ANSWER[0], None: f"\n{THINK[1]}\n{ANSWER[0]}"}[tag]
        return self.asked + self.tokens + encode(begin)


@dataclass(frozen=True)
class Answerer:
    """A model that answers in at most ``max_tokens`` tokens, reasoning included."""

    model: Model
    max_tokens: int
    calibration: Calibration = field(default_factory=Calibration)

    @torch.inference_mode()
    def answer(self, clip: EncodedClip, question: Question, not_observed: float, on_text: OnText, stop: Stop) -> Answer:
        """As ``Engine.answer`` says; the clip is afterwards as it was.

        Raises:
            SpatialError: CANCELED; FAILED where the model's numbers overflow.
        """
        start, remark = perf_counter(), ""
        if question.with_reasoning and self.calibration.reasoning is False:
            question, remark = replace(question, with_reasoning=False), UNTRAINED
        with clip.lent():
            turn = Turn(self.model, clip, stop)
            draft = self._draft(turn, question, on_text)
            if question.with_reasoning and draft.garbled:
                question, remark = replace(question, with_reasoning=False), GARBLED
                turn.back_to(0)
                draft = self._draft(turn, question, on_text)
            given = self._decide(turn, draft, question, not_observed, on_text)
        if question.with_reasoning and given.verdict == Verdict.ANSWERED and not given.reasoning:
            remark = UNREASONED
        given = given.noted(remark, clip.note)
        sure = self.calibration.scaled(given.confidence, answer_kind(question, given))
        return replace(given, confidence=sure, frames=clip.frames, seconds_generate=perf_counter() - start)

    def _draft(self, turn: Turn, question: Question, on_text: OnText) -> Draft:
        """What would be said after the clip; nothing has been read behind it yet."""
        if question.options:
            return self._choose(turn, question, on_text)
        return self._speak(turn, question, on_text).draft(question)

    def _speak(self, turn: Turn, question: Question, on_text: OnText) -> Speech:
        """The likeliest token after the other, up to the end of the model's turn."""
        asked = self.model.question_ids(question)
        return self._write(turn, turn.read(asked)[0], asked, on_text)

    def _write(self, turn: Turn, row: Tensor, asked: list[int], on_text: OnText) -> Speech:
        """The same from the log-probabilities ``row`` [vocabulary] of what follows ``asked``."""
        stream = TextStream(self.model.decode)
        said = Speech(asked, [], [], stream)
        for token, score in turn.generate(row, self.model.ends, self.max_tokens):
            said.tokens.append(token)
            said.scores.append(score)
            if stream.add(token):
                on_text(stream.text)
        stream.end()
        if len(said.tokens) < self.max_tokens:
            return said
        return replace(said, whole=int(turn.read(said.tokens[-1:])[0].argmax()) in self.model.ends)

    def _choose(self, turn: Turn, question: Question, on_text: OnText) -> Draft:
        """The likeliest of the options' letters: always one of them, after thinking where that was asked for."""
        if question.with_reasoning:
            said = self._speak(turn, question, on_text)
            thought = said.draft(question)
            if thought.garbled or thought.answer.verdict == Verdict.NOT_OBSERVED:
                return thought
            before, reasoning = said.up_to_answer(self.model.encode_text), thought.answer.reasoning
        else:
            before, reasoning = self.model.question_ids(question), ""
        letters = self._letters(turn.after(before)[0], len(question.options))
        choice = int(letters.argmax())
        text, sure = question.options[choice], float(letters.softmax(0)[choice])
        if not question.with_reasoning:
            on_text(text)
        chosen = Answer(Verdict.ANSWERED, text, choice=choice, reasoning=reasoning, confidence=sure)
        return Draft(chosen, before, float(letters[choice]))

    def _letters(self, row: Tensor, count: int) -> Tensor:
        """Log-probabilities [count] of the letters A, B, ... as the next token, with and without a space before."""
        forms = [[self.model.encode_text(s + letter) for s in ("", " ")] for letter in LETTERS[:count]]
        single = [[tokens[0] for tokens in form if len(tokens) == 1] for form in forms]
        return torch.stack([row[tokens].logsumexp(0) for tokens in single])

    def _decide(self, turn: Turn, draft: Draft, question: Question, not_observed: float, on_text: OnText) -> Answer:
        """The answer, or that nothing was seen of it."""
        said = draft.answer
        if isnan(said.confidence):
            raise SpatialError(ErrorCode.FAILED, "the model's numbers overflow: load it with dtype bfloat16 or float32")
        if not_observed >= 1:
            return said
        refusal = self.model.encode_text(REFUSAL)
        refuses = said.verdict == Verdict.NOT_OBSERVED
        if self.calibration.not_observed is not None:
            unseen = exp(len(refusal) * turn.log_likelihood(draft.before, refusal))
            if unseen <= not_observed:
                return self._without(turn, draft, question, on_text) if refuses else said
        elif refuses or draft.score is None:
            return said
        else:
            unseen = probability(draft.score, turn.log_likelihood(draft.before, refusal))
            if unseen <= not_observed:
                return said
        on_text(REFUSAL)
        return Answer(Verdict.NOT_OBSERVED, REFUSAL, reasoning=said.reasoning, confidence=unseen)

    def _without(self, turn: Turn, draft: Draft, question: Question, on_text: OnText) -> Answer:
        """The likeliest answer that does not begin as its refusals do; after reasoning the model's own words stand."""
        if question.with_reasoning or draft.first is None:
            return draft.answer
        row, first = turn.after(draft.before)[0].clone(), draft.first
        for _ in range(OPENINGS):
            row[first] = -inf
            turn.back_to(len(draft.before))
            other = self._write(turn, row, draft.before, on_text)
            answer = other.draft(question).answer
            if answer.verdict != Verdict.NOT_OBSERVED:
                return answer
            first = other.tokens[0]
        on_text(draft.answer.text)
        return draft.answer


def skip_spaces(text: str, start: int) -> int:
    return len(text) - len(text[start:].lstrip())
