"""What was freed goes back to the system, wherever it lay."""

import platform
import subprocess
import sys

import pytest

CODE = """
import os
from spatial_mllm_ros.node.malloc import few_arenas, give_back

def megabytes():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

few_arenas()
before = megabytes()
blocks = [bytes([i % 255 + 1]) * 100_000 for i in range(2000)]
kept = blocks[::100]
del blocks
freed = megabytes()
give_back()
print(before, freed, megabytes())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc keeps what is between others")
def test_what_lies_between_others_is_given_back():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=100, check=True)
    before, freed, after = map(float, done.stdout.split())
    assert freed - before > 100, "200 MB were freed, and stay: else there is nothing to test"
    assert after - before < 20, "2 MB of it are still held"
