"""Compiled functions work where nothing can be written: a read-only home and a read-only installation."""

import subprocess
import sys
import warnings

import pytest

from spatial_mllm_ros.compiled import NO_PLACE, _say_no_place, compiled

NOWHERE = """
from numba.core.caching import CacheImpl
CacheImpl._locator_classes = []  # no place is good enough, as where neither home nor package can be written
from spatial_mllm_ros.cli import app
app()
"""


def without_a_file(code: str, name: str):
    """A function of which numba cannot say where its cache belongs."""
    scope = {}
    exec(code, scope)
    return scope[name]


def test_a_function_is_compiled_where_no_cache_has_a_place_and_that_is_said():
    _say_no_place.cache_clear()
    with pytest.warns(RuntimeWarning, match="set NUMBA_CACHE_DIR to a folder"):
        twice = compiled(nogil=True)(without_a_file("def twice(x):\n    return 2 * x", "twice"))
    assert twice(21) == 42


def test_options_are_numbas():
    by = without_a_file("def by(x, y):\n    return x / y", "by")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert compiled(error_model="numpy")(by)(1.0, 0.0) == float("inf")
        with pytest.raises(ZeroDivisionError):
            compiled()(by)(1.0, 0.0)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(420)
def test_simulate_runs_where_nothing_can_be_kept_and_says_so_once(tmp_path):
    pytest.importorskip("embreex", reason="rooms are simulated with embreex")
    room = tmp_path / "room.mcap"
    small = ("--duration", "0.4", "--fps", "5", "--size", "64x48")
    start = [sys.executable, "-c", NOWHERE, "simulate", str(room), *small]
    done = subprocess.run(start, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if not line.startswith("simulating: ")]
    assert said == [f"warning: {NO_PLACE}", f"wrote {room}"]
    assert room.stat().st_size > 1000
