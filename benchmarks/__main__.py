"""Run every benchmark, or those named: ``python -m benchmarks [coverage motion node ... ask] [--out FILE]``."""

import argparse
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from benchmarks.common import machine

NEED_TORCH = ("model", "encoders", "ask", "recovery", "sft")
MODULES = (
    *("coverage", "motion", "node", "annotate", "memory", "mapping"),
    *("model", "encoders", "ask", "recovery", "multispa", "sft"),
)


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    arguments.add_argument("modules", nargs="*", default=MODULES, help=f"any of {', '.join(MODULES)}; all by default")
    arguments.add_argument("--out", type=Path, help="also write the table to this Markdown file")
    chosen = arguments.parse_args()
    if unknown := set(chosen.modules) - set(MODULES):
        arguments.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(MODULES)}")
    print(machine())
    lines, failed = [f"Measured on {machine()}."], []
    for module in chosen.modules:
        if module in NEED_TORCH and find_spec("torch") is None:
            print(f"\n{module}\n  left out: it needs torch")
            continue
        # Each in a process of its own: memory, threads and ROS of one do not disturb the next.
        with subprocess.Popen(
            [sys.executable, "-m", f"benchmarks.{module}"], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            lines += ["", f"### {module}", "", "| what | figure | baseline | ratio |", "|---|---|---|---|"]
            print(f"\n{module}")
            for line in child.stdout:
                cells = [cell.strip() for cell in line.split("|")]
                if len(cells) > 1:
                    print("  " + line.rstrip(), flush=True)
                    lines.append("| " + " | ".join([*cells, "", "", ""][:4]) + " |")
        if child.returncode:
            failed.append(module)
    if chosen.out:
        chosen.out.write_text("\n".join(lines) + "\n")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
