"""Commands in this process: a process of its own takes seconds to begin, and says the same."""

import warnings
from dataclasses import dataclass

import pytest

from spatial_mllm_ros.cli import app


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def call(capsys, monkeypatch):
    """Runs a command that ends with this exit code."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command sets it

    def call(*arguments: object, code: int = 0) -> Done:
        with pytest.raises(SystemExit) as ended:
            app([str(a) for a in arguments])
        text = capsys.readouterr()
        assert ended.value.code == code, text.err
        return Done(code, text.out, text.err)

    return call
