"""What reaches a terminal: text, whatever a model, a recording or a file name says."""

import io
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from spatial_mllm_ros.cli import show, terminal
from spatial_mllm_ros.doctor import Check
from spatial_mllm_ros.mllm import Answer, Question, Verdict
from spatial_mllm_ros.recordings.info import RecordingInfo, TopicInfo
from spatial_mllm_ros.recordings.poses import PoseSource
from spatial_mllm_ros.recordings.topics import CameraTopics
from spatial_mllm_ros.scene.asking import Asked

HOSTILE = "one\x1b[31mtwo\x07\x9b2J\r\u202ethree[/red] \ud800"


@pytest.fixture
def screen(monkeypatch):
    """A terminal that keeps what is sent to it, without colours; both consoles write there."""
    kept = io.StringIO()
    console = terminal.PlainConsole(file=kept, force_terminal=True, no_color=True)
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


def test_names_in_a_recording_are_text(screen):
    link = "\x1b]8;;http://evil\x1b\\here\x1b]8;;\x1b\\ [link=http://evil]x[/link]"
    topics = [TopicInfo(name, HOSTILE, 1, 1.0) for name in (f"/{HOSTILE}{link}", link, HOSTILE)]
    cameras = {HOSTILE: CameraTopics(link, HOSTILE, HOSTILE)}
    poses = PoseSource("tf", HOSTILE, HOSTILE)
    known = RecordingInfo(
        Path(HOSTILE), 0, 1.0, 1, topics, cameras, poses, [HOSTILE + link], {}, 0.0, {HOSTILE: HOSTILE}
    )
    terminal.err.print(*show.info_lines(known, {}), sep="\n")
    assert "\x1b]8" not in sent(screen)


def test_what_a_machine_says_is_text(screen):
    checks = [Check(HOSTILE, HOSTILE, HOSTILE, remedy=HOSTILE), Check("", HOSTILE, "", remedy=HOSTILE)]
    terminal.err.print(show.doctor_table(checks), *show.remedies(checks), sep="\n")
    assert sent(screen).count("[31mtwo") == 6


def test_a_table_of_frames_is_text(screen):
    frames = [SimpleNamespace(stamp_ns=0, camera=HOSTILE, gain=1)]
    sample = SimpleNamespace(frames=frames, voxels_covered=1, voxels_seen=1, voxel_size=0.1, skipped=Counter([HOSTILE]))
    terminal.err.print(*show.sample_lines(sample), sep="\n")
    assert sent(screen).count("[31mtwo") == 2


def test_nothing_moves_where_nobody_looks(monkeypatch):
    kept = io.StringIO()
    monkeypatch.setattr(terminal, "err", terminal.PlainConsole(file=kept))
    with terminal.writing() as on_text:
        on_text("half an answer")
    assert list(terminal.track([1, 2], "reading", 2)) == [1, 2]
    assert not kept.getvalue()


@pytest.mark.parametrize(
    ("total", "done", "lines"),
    [
        (700, 100, ["asking: 100 of 700, about 1 min left"]),  # 10 s for 100: 60 s for 600
        (150, 100, ["asking: 100 of 150"]),
        (None, 100, ["asking: 100"]),
        (1.0, 0.25, ["asking: 25 %"]),
        (100, 0, ["asking: 0 of 100"]),
    ],
)
def test_into_a_file_goes_a_line_now_and_then(monkeypatch, total, done, lines):
    kept, now = io.StringIO(), [100.0]
    monkeypatch.setattr(terminal, "err", terminal.PlainConsole(file=kept, width=20))
    monkeypatch.setattr(terminal, "monotonic", lambda: now[0])
    move = terminal.lines("asking")
    move(done / 2, total)
    now[0] += 9.9
    move(done / 2, total)
    assert not kept.getvalue()
    now[0] += 0.1
    move(done, total)
    move(done, total)
    assert kept.getvalue().splitlines() == lines


def test_a_long_command_that_is_piped_says_how_far_it_is(monkeypatch):
    kept = io.StringIO()
    monkeypatch.setattr(terminal, "err", terminal.PlainConsole(file=kept))
    monkeypatch.setattr(terminal, "LINE_SECONDS", 0.0)
    assert list(terminal.track("ab", "asking", 2)) == ["a", "b"]
    assert kept.getvalue().splitlines() == ["asking: 1 of 2", "asking: 2 of 2"]
