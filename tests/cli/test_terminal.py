"""What reaches a terminal: text, whatever a model, a recording or a file name says."""

import io

import pytest
from rich.console import Console

from spatial_mllm_ros.asking import Asked
from spatial_mllm_ros.cli import show, terminal
from spatial_mllm_ros.mllm import Answer, Question, Verdict

HOSTILE = "one\x1b[31mtwo\x07\x9b2J\r\u202ethree[/red] \ud800"


@pytest.fixture
def screen(monkeypatch):
    """A terminal that keeps what is sent to it, without colours; both consoles write there."""
    kept = io.StringIO()
    console = Console(file=kept, markup=False, emoji=False, highlight=False, force_terminal=True, no_color=True)
    monkeypatch.setattr(terminal, "err", console)
    return kept


def sent(kept: io.StringIO) -> str:
    """What was sent, without the codes of this program's own bars, which end in a letter after digits."""
    text = kept.getvalue()
    assert "\x1b[31mtwo" not in text and not set("\x07\x9b\u202e\ud800") & set(text)
    return text


@pytest.mark.parametrize("speak", [terminal.note, terminal.warn, lambda text: terminal.say("error", text)])
def test_messages_are_text(screen, speak):
    speak(HOSTILE)
    assert "[31mtwo" in sent(screen) and "three[/red]" in sent(screen)


def test_a_growing_answer_is_text(screen):
    with terminal.writing() as on_text:
        on_text(HOSTILE)
    assert "three[/red]" in sent(screen)


def test_an_answer_is_text(screen):
    answer = Answer(Verdict.ANSWERED, HOSTILE, choice=0, reasoning=HOSTILE, note=HOSTILE)
    asked = Asked(Question("Which?", (HOSTILE, "other")), answer, ((0, "camera"),))
    terminal.err.print(*show.answer_lines(asked), sep="\n")
    assert sent(screen).count("[31mtwo") == 4


def test_nothing_moves_where_nobody_looks(monkeypatch):
    kept = io.StringIO()
    monkeypatch.setattr(terminal, "err", Console(file=kept, markup=False))
    with terminal.writing() as on_text:
        on_text("half an answer")
    assert list(terminal.track([1, 2], "reading", 2)) == [1, 2]
    assert not kept.getvalue()
