"""Fuzzing by hand: ``python -m tests.fuzz [TARGET ...] [--minutes M] [--seed S] [--out DIR]``.

What breaks a promise stays in DIR as ``TARGET-SEED.input``, with what was said in ``TARGET-SEED.txt``; a table at the
end says how many inputs ended how. With ``--guided`` inputs are led by the lines that they reach, by Atheris (pip
install atheris, Python 3.11 to 3.13), and the first that breaks a promise ends it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import Any

from tests.fuzz.child import MEMORY, TIME
from tests.fuzz.targets import cleared, quietly, targets


def run(names: str, seed: int, count: int, seconds: float, out: Path) -> tuple[list[dict], str]:
    """Inputs of each of these targets; how they ended, and what is wrong with the last of them (empty: nothing)."""
    command = [sys.executable, "-m", "tests.fuzz.child", names, *map(str, (seed, count, seconds, out))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10 * seconds + 600)
    except subprocess.TimeoutExpired as late:
        return [], f"it waits for something, or the machine is too busy: not ended within {late.timeout:g} s"
    wrong = f"exit status {done.returncode}\n{done.stderr[-4000:]}" if done.returncode else ""
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"target"')], wrong


def by_hand(names: list[str], minutes: float, seed: int, out: Path) -> int:
    out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in names:
        ends, slowest, most, start = Counter(), 0.0, 0, monotonic()
        while (left := 60 * minutes - (monotonic() - start)) > 0:
            with tempfile.TemporaryDirectory() as scratch:
                found, wrong = run(name, seed, 10**6, min(left, 60), Path(scratch))
                for told in found:
                    ends.update(told["ends"])
                    slowest, most = max(slowest, told["slowest"]), max(most, told["megabytes"])
                if wrong:
                    failed += 1
                    if (last := Path(scratch) / "input").exists():
                        shutil.copy(last, out / f"{name}-{seed}.input")
                    (out / f"{name}-{seed}.txt").write_text(wrong)
                    print(f"{name}-{seed}: {wrong.strip().splitlines()[-1]}", flush=True)
            seed += 1
        told = ", ".join(f"{how} {n}" for how, n in ends.most_common())
        print(f"{name}: {ends.total()} inputs ({told}), slowest {slowest} s, {most} MB", flush=True)
    return failed


def watched() -> AbstractContextManager:
    """What is imported meanwhile tells which of its lines are reached."""
    os.environ["NUMBA_DISABLE_JIT"] = "1"  # numba cannot compile what counts its lines
    atheris: Any = import_module("atheris")
    return atheris.instrument_imports(include=["spatial_mllm_ros", "spatial_mllm_training", "rosbags"])


def guided(name: str, minutes: float, out: Path) -> None:
    atheris: Any = import_module("atheris")
    with watched():
        target = dict(targets())[name]
        home = cleared(out / name)
        seeds = target.seeds(cleared(home / "seeds"))
        for data in seeds:
            quietly(target, data, home / "seeds")
    for i, data in enumerate(seeds):
        (cleared(home / "corpus") if not i else home / "corpus").joinpath(str(i)).write_bytes(data)
    limits = [f"-max_total_time={60 * minutes:.0f}", f"-timeout={TIME}", f"-rss_limit_mb={2 * MEMORY >> 20}"]
    limits += ["-max_len=100000", f"-artifact_prefix={out}/", "-print_final_stats=1"]

    def one(data: bytes) -> None:
        quietly(target, data, home / "seeds")

    atheris.Setup([sys.argv[0], *limits, str(home / "corpus")], one)
    atheris.Fuzz()


def main() -> int:
    with watched() if "--guided" in sys.argv else nullcontext():
        known = [name for name, _ in targets()]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(known)}; all by default")
    parser.add_argument("--minutes", type=float, default=1.0, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/fuzz"))
    parser.add_argument("--guided", action="store_true", help="one target, led by coverage")
    options = parser.parse_args()
    if odd := set(options.targets) - set(known):
        parser.error(f"no target {', '.join(odd)}: expected {', '.join(known)}")
    if options.guided and len(options.targets) != 1:
        parser.error("--guided takes one target")
    if options.guided:
        guided(options.targets[0], options.minutes, options.out)
    return by_hand(options.targets or known, options.minutes, options.seed, options.out)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
