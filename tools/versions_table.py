"""The outcome of ``make test-versions`` as a table: ``versions_table.py FOLDER``, where noxfile.py kept it."""

import re
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

SHOWN = ("python", "ros-rclpy", "torch", "transformers", "peft", "trl", "numpy", "numba", "rosbags")


def main(folder: Path) -> None:
    if not list(folder.glob("*.xml")):
        return
    print(f"| environment | {' | '.join(SHOWN)} | passed | failed | skipped |")
    print(f"|---|{'---|' * (len(SHOWN) + 3)}")
    reasons: Counter[tuple[str, str]] = Counter()
    for listing in sorted(folder.glob("*.txt")):
        name = listing.stem
        if not (results := sorted(folder.glob(f"{name}.*.xml"))):
            continue
        versions = dict(re.findall(r"^([\w-]+)==(\S+)$", listing.read_text(), re.MULTILINE))
        cases = [case for result in results for case in ElementTree.parse(result).iter("testcase")]
        skipped = [case.find("skipped") for case in cases if case.find("skipped") is not None]
        failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
        reasons.update((name, part.get("message", "")) for part in skipped if part is not None)
        counts = (len(cases) - failed - len(skipped), failed, len(skipped))
        print(f"| {name} | {' | '.join(versions.get(key, '') for key in SHOWN)} | {' | '.join(map(str, counts))} |")
    print("\nSkipped, and why:")
    for (name, reason), count in sorted(reasons.items()):
        print(f"- {name}: {count} times: {reason}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
