"""From a recording to its analysis."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import Config
from ..frames import Frame
from ..motion.targets import Target, Targets
from ..recordings import BagWarning, FrameReader
from ..scene.asking import Asked
from .analysis import Analysis, Recorder
from .objects import read_tracks

if TYPE_CHECKING:
    from ..mllm.answering.engine import Engine

Track = Callable[[Iterable[Frame]], Iterable[Frame]]


def analyse(
    path: Path,
    config: Config,
    targets: Sequence[Target] = (),
    track: Track = iter,
    asked: Sequence[Asked] = (),
    pushed: int = 3,
    engine: "Engine | None" = None,
    **topics: Any,
) -> Analysis:
    """Read a recording once.

    Args:
        config: parameters; cameras and pose source are those of the recording.
        targets: regions to follow, besides every camera.
        track: wraps the frames, for a progress bar.
        asked: questions about it and their answers.
        pushed: in a simulated recording, follow up to so many of the first pushed objects.
        engine: the model that is asked about motion, where ``motion.source`` is not geometry.
        topics: what not to guess, see ``recordings.topics.find_sources``.

    Raises:
        BagError: not a recording, no camera in it, or a topic that is not there.
        SpatialError: a target cannot be followed; the model is missing, not calibrated for motion, or fails.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BagWarning)
        with FrameReader(path, config, **topics) as reader:
            Targets(reader.config, targets)  # what is refused elsewhere is refused here
            recorder = Recorder(reader.config, targets, read_tracks(path)[:pushed], asked, engine)
            for frame in track(reader):
                recorder.add(frame)
    notes = [str(w.message) for w in caught if issubclass(w.category, BagWarning)]
    agree = {name: verdict for name, verdict in reader.verdicts.items() if not verdict.wrong}
    notes += [f"Depth and poses of camera “{name}”: {verdict.text}." for name, verdict in agree.items()]
    return recorder.result(notes)
