"""Model processes that end with their test."""

from pathlib import Path

import pytest

from .bench import Bench


@pytest.fixture
def bench(tmp_path):
    made = []

    def make(**options):
        made.append(Bench(tmp_path, **options))
        return made[-1]

    yield make
    pids = [b.model.state.pid for b in made]
    for b in made:
        b.model.close()
    assert not [pid for pid in pids if pid and Path(f"/proc/{pid}").exists()]
