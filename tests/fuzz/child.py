"""Targets, input after input, in a process of their own: ``python -m tests.fuzz.child NAMES SEED COUNT SECONDS OUT``.

It ends at the first input that ends otherwise than it may: with a wrong error, too late, or with too much memory. What
it was is in ``OUT/input``, and standard error says how it ended; of the others standard output counts how they did.
"""

import faulthandler
import json
import random
import resource
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from time import monotonic, process_time
from typing import Any

from tests.fuzz.mutation import mutated
from tests.fuzz.targets import Target, cleared, quietly, targets

TIME, MEMORY = 20, 2**30  # s of the processor, and bytes, that an input of at most a megabyte may take
SIZE = 10**6  # bytes


def grown() -> int:
    """The most memory that was resident at any time, bytes."""
    status = Path("/proc/self/status").read_text()  # ru_maxrss begins with what the parent had
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main(names: str, seed: str, count: str, seconds: str, out: str) -> None:
    known = dict(targets())
    faulthandler.register(signal.SIGPROF, chain=True)  # says where it is, and ends
    with tempfile.TemporaryDirectory() as scratch:
        for name in names.split(","):
            told = fuzz(known[name], int(seed), int(count), float(seconds), Path(scratch, name), Path(out, "input"))
            print(json.dumps({"target": name, **told}), flush=True)


def fuzz(target: Target, seed: int, count: int, seconds: float, home: Path, kept: Path) -> dict[str, Any]:
    """Inputs of one target; how they ended, the slowest in seconds, megabytes that were taken."""
    rng, seeds = random.Random(seed), target.seeds(cleared(home))
    for data in seeds:  # imports, and what is made once
        quietly(target, data, home)
    start, most, ends, slowest = monotonic(), grown(), Counter[str](), 0.0
    resource.setrlimit(resource.RLIMIT_AS, (min(address_space() + 2 * MEMORY, 2**40), resource.RLIM_INFINITY))
    while ends.total() < count and monotonic() - start < seconds:
        data = mutated(seeds, rng)[:SIZE]
        kept.write_bytes(data)
        signal.setitimer(signal.ITIMER_PROF, TIME)
        begun = process_time()
        ends[quietly(target, data, home)] += 1
        signal.setitimer(signal.ITIMER_PROF, 0)
        slowest = max(slowest, process_time() - begun)
        assert grown() - most < MEMORY, f"{(grown() - most) >> 20} MB more than before"
    return {"ends": ends, "slowest": round(slowest, 2), "megabytes": (grown() - most) >> 20}


if __name__ == "__main__":
    main(*sys.argv[1:])
