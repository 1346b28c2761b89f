"""How fast a whole recording is annotated with rewards, as a multiple of the time it took to record."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from benchmarks.common import RECORDING, Row, show
from spatial_mllm_ros.annotate.bag import annotate
from spatial_mllm_ros.motion.targets import Target
from spatial_mllm_ros.recordings import read_frames


def run(bag: Path | None = None, repeat: int = 3) -> Iterator[Row]:
    """Rows for the recording beside this checkout, or a simulated one where that is absent; best of ``repeat``."""
    with tempfile.TemporaryDirectory() as folder:
        if bag is None:
            bag = RECORDING if RECORDING.exists() else simulated(Path(folder) / "room.mcap")
        stamps = [frame.stamp_ns for frame in read_frames(bag)]
        seconds = (stamps[-1] - stamps[0]) / 1e9
        region = Target("region", "", (270, 190, 100, 100), stamps[0])
        for name, targets in (("camera", []), ("camera and a region of 100 x 100 pixels", [region])):
            times = []
            for attempt in range(repeat):
                start = perf_counter()
                annotate(bag, Path(folder) / f"{len(targets)}_{attempt}.mcap", targets=targets)
                times.append(perf_counter() - start)
            yield Row(
                f"annotate {bag.stem}: {name}",
                f"{min(times):.2f} s for {len(stamps)} frames",
                f"{seconds:.2f} s recorded",
                f"{seconds / min(times):.1f}",
            )


def simulated(path: Path) -> Path:
    from spatial_mllm_ros.simulation import simulate

    simulate(path, seed=0, duration=5)
    return path


if __name__ == "__main__":
    show(run())
