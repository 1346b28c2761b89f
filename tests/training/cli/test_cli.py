"""The command as people run it: its output, its errors in one line, its exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from spatial_mllm_training.cli import app

ROOT = Path(__file__).parents[3]
COMMANDS = {
    "calibrate",
    "geometry",
    "nano",
    "cold-start",
    "grpo",
    "sft",
    "multispa generate",
    "multispa stats",
    "multispa show",
    "evaluate",
}


def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "training")])
    command = [sys.executable, "-m", "spatial_mllm_training.cli", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=110, check=False, env=os.environ | {"PYTHONPATH": path}
    )
    assert done.returncode == code, f"exit code {done.returncode}: {done.stderr}"
    return done


def error_of(capsys, *arguments: object) -> str:
    """What is said where it cannot be done: one line, the exit code 1."""
    with pytest.raises(SystemExit) as end:
        app([*map(str, arguments)])
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.strip()]
    assert end.value.code == 1 and not said.out
    assert len(lines) == 1 and lines[0].startswith("error: "), said.err
    return lines[0].removeprefix("error: ")


def printed(capsys, *arguments: object) -> str:
    """What a command that ends well prints."""
    with pytest.raises(SystemExit) as end:
        app([*map(str, arguments)])
    said = capsys.readouterr()
    assert not end.value.code, said.err
    return said.out


def commands(group: Any, path: str = ""):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def test_every_command_and_option_says_what_it_is():
    found = dict(commands(typer.main.get_command(app)))
    assert set(found) == COMMANDS
    for name, command in found.items():
        assert command.help and command.help.strip(), name
        for option in command.params:
            assert option.help and option.help.rstrip("}").endswith("."), f"{name} {option.name}: {option.help}"


@pytest.fixture(scope="module")
def made(simulated_bag, tmp_path_factory):
    """A folder of questions about a recording, and what the command said."""
    out = tmp_path_factory.mktemp("made") / "out"
    done = run("multispa", "generate", simulated_bag, "--out", out, "--per-task", 5, "--test-share", 1, "--workers", 1)
    return out, done


def test_generate_says_what_was_made_and_what_was_not(made):
    out, done = made
    count = len((out / "test.jsonl").read_text().splitlines())
    assert f"wrote {out}: {count} test questions of 1 scenes" in done.stderr and done.stdout == ""
    assert "object_size: no things" in done.stderr


def test_stats_count_the_records(made, capsys):
    out, _ = made
    records = [json.loads(line) for line in (out / "test.jsonl").read_text().splitlines()]
    known = json.loads(run("multispa", "stats", out, "--json").stdout)
    assert known["total"] == len(records)
    assert known["records"]["depth_estimation_dot"]["test"] == sum(
        r["question_type"] == "depth_estimation_dot" for r in records
    )
    assert "depth_estimation_dot" in printed(capsys, "multispa", "stats", out)


def test_stats_say_what_was_left_out(tmp_path, capsys):
    state = {"proposed": {"dropped": {"broken pixels": 3}}}
    manifest = {"shards": {"a": state}, "skipped": {}, "faults": {"frame: it is torn": 2}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    said = printed(capsys, "multispa", "stats", tmp_path)
    assert "3 frames: broken pixels" in said and "2 faults: frame: it is torn" in said and "not finished" not in said
    del manifest["skipped"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert "not finished" in printed(capsys, "multispa", "stats", tmp_path)


def test_show_writes_a_page(made, tmp_path, capsys):
    out, _ = made
    printed(capsys, "multispa", "show", out, "--out", tmp_path / "page.html", "--count", 1)
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg") >= 4 and "depth_estimation_dot" in page


def test_evaluate_predictions_that_are_right(made, tmp_path):
    out, _ = made
    records = [json.loads(line) for line in (out / "test.jsonl").read_text().splitlines()]
    said = [{"id": record["id"], "prediction": record["conversations"][1]["value"]} for record in records]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in said))
    done = run("evaluate", "multispa", out, "--predictions", tmp_path / "said.jsonl", "--out", tmp_path / "scores")
    assert "100.0" in done.stdout
    assert (tmp_path / "scores" / "result.json").is_file() and (tmp_path / "scores" / "result.html").is_file()


def test_evaluate_a_baseline(made, tmp_path, capsys):
    out, _ = made
    printed(capsys, "evaluate", "multispa", out, "--baseline", "majority", "--out", tmp_path / "scores", "--limit", 20)
    assert (tmp_path / "scores" / "result.json").is_file()


def test_errors_are_one_line(made, tmp_path, capsys):
    out, _ = made
    new = tmp_path / "new"
    assert "nowhere" in error_of(capsys, "multispa", "generate", tmp_path / "nowhere", "--out", new)
    text = error_of(capsys, "multispa", "generate", "simulated:1", "--out", new, "--engine", "spark")
    assert text == "engine 'spark': expected pool or ray"
    text = error_of(capsys, "multispa", "generate", "simulated:1", "--out", new, "--types", "depth")
    assert text.startswith("unknown question type depth: there are depth_estimation_dot")
    text = error_of(capsys, "multispa", "generate", "simulated:1", "--out", out, "--seed", 3)
    assert "--overwrite" in text
    assert "multispa generate" in error_of(capsys, "multispa", "stats", tmp_path)
    text = error_of(capsys, "evaluate", "multispa", out, "--out", new)
    assert text == "who answers? expected one of --predictions FILE, --baseline NAME or --model M"
    text = error_of(capsys, "evaluate", "multispa", out, "--baseline", "luck", "--out", new)
    assert text == "baseline 'luck': expected chance, majority, geometry"
    assert not new.exists()


def test_answers_of_a_model_are_told_apart_by_what_they_depend_on(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch", reason="the model needs torch")

    def failing(*_: object, settings: str, **__: object):
        raise ValueError(settings)

    monkeypatch.setattr("spatial_mllm_training.benchmarks.evaluate.evaluate", failing)
    asked = ["evaluate", "multispa", tmp_path, "--model", "m", "--out", tmp_path]
    changes = [], ["--adapter", "a"], ["--dtype", "float16"], ["--max-tokens", 7], ["--not-observed", 0.9]
    seen = {error_of(capsys, *asked, *change) for change in changes}
    assert len(seen) == 5 and all(settings.startswith("adapter=") for settings in seen)
