"""How fast a whole recording is annotated with rewards, as a multiple of the time it took to record."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import Row, recording, show, timed
from spatial_mllm_ros.annotate.bag import annotate
from spatial_mllm_ros.motion.targets import Target
from spatial_mllm_ros.recordings import read_frames


def run() -> Iterator[Row]:
    """Best of three."""
    with tempfile.TemporaryDirectory() as folder:
        bag = recording(Path(folder))
        stamps = [frame.stamp_ns for frame in read_frames(bag)]
        seconds = (stamps[-1] - stamps[0]) / 1e9
        region = Target("region", "", (270, 190, 100, 100), stamps[0])
        for name, targets in (("camera", []), ("camera and a region of 100 x 100 pixels", [region])):
            outs = [Path(folder) / f"{len(targets)}_{attempt}.mcap" for attempt in range(3)]
            best = min(timed(annotate, bag, out, targets=targets)[0] for out in outs)
            figure = f"{best:.2f} s for {len(stamps)} frames"
            yield Row(f"annotate {bag.stem}: {name}", figure, f"{seconds:.2f} s recorded", f"{seconds / best:.1f}")


if __name__ == "__main__":
    show(run())
