"""Recordings with rewards: the whole recording offline, into a new one, surviving a kill."""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from ..config import Config, MotionParams
from ..errors import BadMessage, SpatialError
from ..frames import Frame
from ..motion.asked import judge_of
from ..motion.rewards import Reward
from ..motion.targets import Target, Targets
from ..recordings.errors import BagError, exists_already
from ..recordings.reader import FrameReader
from ..recordings.recording import Recording, require
from ..recordings.topic import Topic, offered_qos
from ..recordings.types import ODOMETRY, POSE, REWARD, TRANSFORMS, typestore
from ..recordings.writer import BagWriter
from ..versions import PACKAGE, version_of
from .progress import Progress, fingerprint, progress_folder
from .state import Codec

if TYPE_CHECKING:
    from ..mllm.answering.engine import Engine

REWARD_TOPIC = "/spatial_mllm/motion_reward"
CHECKPOINT = 100  # frames; what a kill can cost
AHEAD, AHEAD_BYTES = 8, 256_000_000  # frames decoded in advance, and what they may take
REASONS = 20  # told apart in a report


@dataclass
class AnnotateReport:
    """What was done.

    Attributes:
        frames, rewards: their number in all.
        resumed: frames that an earlier run had finished.
        skipped: number of frames whose pixels turned out to be broken, by reason.
    """

    frames: int = 0
    rewards: int = 0
    resumed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


State = tuple[AnnotateReport, Targets | None]  # that a run goes on from; None: all rewards are there


def annotate(
    source: str | Path,
    out: str | Path,
    *,
    targets: Collection[Target] = (),
    topics: Collection[str] | Literal["all"] | None = None,
    config: Config | None = None,
    engine: "Engine | None" = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **sources: Any,
) -> AnnotateReport:
    """Write a new recording with a MotionReward for each frame of each target, on ``/spatial_mllm/motion_reward``.

    Where ``motion.source`` is mllm or both, the model gives one for each frame that it is asked about.

    Targets that are given up, and jumps of poses, are told by BagWarnings.

    The same recording, targets and parameters give the same bytes. Killed at any moment and called again it goes on
    from its last checkpoint, which is kept beside the output, and ends with the same bytes too.

    Args:
        source: any recording; it is never changed.
        out: a file ``.mcap``, or a folder.
        targets: regions to follow besides the first camera.
        topics: what to copy from the source; by default poses and transforms (TF, Odometry, PoseStamped).
        config: parameters of motion.
        engine: the model that is asked, where ``motion.source`` is not geometry; else not used.
        overwrite: whether an existing ``out`` may be replaced.
        progress: called with the number of frames done, and of all images.
        sources: what not to guess, see :func:`find_sources`.

    Raises:
        BagError: ``source`` is no recording with a camera, or ``out`` cannot be written or would replace the source.
        SpatialError: a target is wrong or has nothing to follow; the model is missing, not calibrated for motion, or
            fails.
    """
    engine = judge_of(engine, (config or Config()).motion.source)
    source, out = Path(source), Path(out)
    with FrameReader(source, config, **sources) as reader:
        _refuse_source(source, out)
        existed = out.exists() and not overwrite
        if existed and not progress_folder(out).exists():
            raise exists_already(out)
        copied = _copied(reader.recording, topics)
        codec = Codec(State, {MotionParams: reader.config.motion})
        kept = Progress(out, _key(source, reader.config, targets, copied, engine), codec)
        try:
            report, followed = kept.state or (AnnotateReport(), Targets(reader.config, targets))
            report.resumed = kept.done
            if followed is not None:
                if existed:
                    raise exists_already(out)
                report = _follow(reader, report, followed, kept, progress or (lambda done, total: None), engine)
                _write(reader.recording, copied, kept, out)
                kept.checkpoint(report.frames, (report, None))
            kept.place()
        except (BagError, SpatialError):
            kept.finish()
            raise
        except BaseException as error:
            kept.close()
            if kept.done and isinstance(error, Exception):
                text = f"going on with {out} has failed ({type(error).__name__}: {error})"
                raise BagError(f"{text}: remove {kept.folder} to start anew") from error
            raise
        kept.finish()
        return report


def _follow(
    reader: FrameReader,
    report: AnnotateReport,
    followed: Targets,
    kept: Progress,
    progress: Callable[[int, int], None],
    engine: "Engine | None",
) -> AnnotateReport:
    """Rewards of all frames into ``kept``, from its last checkpoint on."""
    total = sum(reader.recording.counts[t.image] for t in reader.sources.cameras.values())
    frames = islice(reader, kept.done, None)  # those before are read, but not decoded

    def needed(frame: Frame) -> tuple[bool, bool]:
        return followed.needs_image(frame), followed.needs_depth(frame)

    def keep(frame: Frame, rewards: list[Reward]) -> None:
        for reward in rewards:
            kept.add(reward.stamp_ns, reward_cdr(reward, frame.world_frame))
        report.rewards += len(rewards)

    for frame in _decoded(frames, needed):
        report.frames += 1
        try:
            keep(frame, followed.update(frame))
            followed.warn()
            keep(frame, followed.judge(frame, engine) if engine else [])
        except BadMessage as error:
            reason = str(error)
            report.skipped[reason if reason in report.skipped or len(report.skipped) < REASONS else "other"] += 1
        frame.release()
        if report.frames % CHECKPOINT == 0:
            report, followed = kept.checkpoint(report.frames, (report, followed))
        progress(report.frames, total)
    followed.finish()
    return report


def _decoded(frames: Iterable[Frame], needed: Callable[[Frame], tuple[bool, bool]]) -> Iterator[Frame]:
    """The frames in their order, decoded some frames ahead where their image, and their depth, are needed."""

    def decode(frame: Frame, depth: bool) -> Frame:
        with suppress(BadMessage):  # whoever asks for these pixels is told again
            _ = (frame.gray, frame.depth) if depth else frame.image
        return frame

    with ThreadPoolExecutor(2) as pool:
        waiting: deque[tuple[int, Callable[[], Frame]]] = deque()
        for frame in frames:
            image, depth = needed(frame)
            size = frame.decoded_nbytes if image else 0
            while waiting and (len(waiting) > AHEAD or size + sum(n for n, _ in waiting) > AHEAD_BYTES):
                yield waiting.popleft()[1]()
            waiting.append((size, pool.submit(decode, frame, depth).result if image else lambda ready=frame: ready))
        while waiting:
            yield waiting.popleft()[1]()


def _write(recording: Recording, copied: list[Topic], kept: Progress, out: Path) -> None:
    """The new recording: copied messages and rewards in order of time."""
    with BagWriter(kept.folder / out.name, overwrite=True) as bag:
        for topic in copied:
            bag.add_topic(topic, recording.types(topic))
        bag.add_topic(Topic(REWARD_TOPIC, REWARD, qos=offered_qos(REWARD_TOPIC)))
        messages = ((stamp, topic.name, data) for topic, stamp, data in recording.messages([t.name for t in copied]))
        rewards = ((stamp, REWARD_TOPIC, data) for stamp, data in kept.records())
        for stamp, name, data in merge(messages, rewards, key=lambda m: m[0]):
            bag.write_cdr(name, data, stamp)


def reward_cdr(reward: Reward, world_frame: str) -> memoryview:
    """A MotionReward, serialised."""
    t = typestore().types
    message = t[REWARD](
        header=t["std_msgs/msg/Header"](_time(reward.stamp_ns), world_frame),
        reference_stamp=_time(reward.reference_ns),
        displacement=t["geometry_msgs/msg/Vector3"](*map(float, reward.displacement)),
        **reward.plain(),
    )
    return typestore().serialize_cdr(message, REWARD, little_endian=True)


def _time(ns: int) -> Any:
    return typestore().types["builtin_interfaces/msg/Time"](*divmod(ns, 10**9))


def _copied(recording: Recording, topics: Collection[str] | Literal["all"] | None) -> list[Topic]:
    if topics is None:
        found = [t for t in recording.topics.values() if t.type in (TRANSFORMS, ODOMETRY, POSE)]
    else:
        found = [require(recording, name) for name in (recording.topics if topics == "all" else topics)]
    return [t for t in found if t.name != REWARD_TOPIC]


def _refuse_source(source: Path, out: Path) -> None:
    inside = source.resolve() in (out.resolve(), *out.resolve().parents)
    if inside or out.resolve() in source.resolve().parents:
        raise BagError(f"{out} is the source or within it: a recording is never changed, choose another name")


def _key(
    source: Path, config: Config, targets: Collection[Target], copied: list[Topic], engine: "Engine | None"
) -> dict[str, str]:
    """All that rewards depend on."""
    return {
        "the recording": fingerprint(source),
        "the parameters": repr(config),
        "the targets": repr(list(targets)),
        "the copied topics": repr([topic.name for topic in copied]),
        "the model": model_key(engine) if engine else "",
        "the software": f"{version_of(PACKAGE) or 'source'} {np.__version__} {cv2.__version__}",
    }


def model_key(engine: "Engine") -> str:
    """Which weights, which adapter on them, and how they are run."""
    run = f"{engine.name} {engine.calibration} {engine.device} {engine.dtype} {engine.encoders}"
    return " ".join([run, f"{engine.max_tokens} {engine.not_observed}", *map(fingerprint, engine.folders)])
