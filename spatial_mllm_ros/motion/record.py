"""How targets do: which are followed, lost or given up, and what an operator should know of it."""

from dataclasses import dataclass
from enum import IntEnum
from math import nan

from .rewards import Reward
from .target import Target

MOST_GIVEN_UP = 32  # that are remembered
SAY_AGAIN_NS = 10_000_000_000  # between two jumps of one camera or target that are told


class State(IntEnum):
    """How a target does; the values are those of ``RewardTarget.msg``."""

    WAITING = 0
    FOLLOWED = 1
    LOST = 2
    GIVEN_UP = 3


@dataclass
class Series:
    """How a target does by one source of rewards.

    Attributes:
        target, source: whose rewards.
        state: waiting before its first frame; lost for as long as rewards are not valid; given up for good.
        reason: why it is lost or given up, else empty.
        reference_ns: stamp that motion counts from, 0 before there is one.
        newest_ns, good_ns: stamps of the newest reward, and of the newest that was valid or a reference.
        rewards, valid: their number until it was given up.
        path_length: metres, of the newest reward.
        told_ns: stamp of the newest jump that was told.
    """

    target: Target
    source: str
    state: State = State.WAITING
    reason: str = ""
    reference_ns: int = 0
    newest_ns: int = 0
    good_ns: int = 0
    rewards: int = 0
    valid: int = 0
    path_length: float = 0.0
    told_ns: int | None = None

    @property
    def lost_for(self) -> float:
        """Seconds since it could be measured last; 0 where it can be."""
        return max(self.newest_ns - self.good_ns, 0) / 1e9

    @property
    def valid_share(self) -> float:
        """Share of its rewards that were valid, 0..1; NaN before there is one."""
        return self.valid / self.rewards if self.rewards else nan

    def begin(self, reference_ns: int) -> None:
        """Followed from this frame on."""
        self.state, self.reference_ns = State.FOLLOWED, reference_ns
        self.newest_ns = self.good_ns = reference_ns

    def add(self, reward: Reward) -> None:
        """The next reward of this target and source."""
        good = reward.valid or reward.anew
        self.state, self.reason = (State.FOLLOWED, "") if good else (State.LOST, reward.reason)
        self.reference_ns, self.newest_ns = reward.reference_ns, reward.stamp_ns
        self.path_length = reward.path_length
        self.good_ns = reward.stamp_ns if good else self.good_ns or reward.stamp_ns
        self.rewards += 1
        self.valid += reward.valid

    def given_up(self, stamp_ns: int) -> Reward:
        """What is said in each further frame, until the target is set again or removed."""
        return Reward(
            stamp_ns,
            self.target.label,
            self.reference_ns,
            valid=False,
            path_length=self.path_length,
            source=self.source,
            reason=self.reason,
        )


class Record:
    """How all targets do, by source, and what an operator should know of it."""

    _series: dict[tuple[str, str], Series]
    _news: list[str]
    _told_ns: dict[str, int]  # of each camera, when a jump was told last

    def __init__(self):
        self._series = {}
        self._news = []
        self._told_ns = {}

    @property
    def series(self) -> list[Series]:
        return list(self._series.values())

    @property
    def live(self) -> list[Series]:
        """Those that were not given up."""
        return [s for s in self._series.values() if s.state != State.GIVEN_UP]

    def news(self) -> list[str]:
        """What is to be known since the last call: what was given up, and jumps."""
        told, self._news = self._news, []
        return told

    def begin(self, target: Target, source: str, reference_ns: int) -> None:
        """A target is set, maybe again; ``reference_ns`` is 0 where the first reward will tell."""
        series = self._series[target.label, source] = Series(target, source)
        if reference_ns:
            series.begin(reference_ns)

    def target(self, label: str, source: str) -> Target:
        return self._series[label, source].target

    def forget(self, label: str, source: str) -> None:
        self._series.pop((label, source), None)

    def add(self, reward: Reward, told: bool = True) -> None:
        """The next reward of what is followed; ``told``: why it starts anew, where it does, is known already."""
        series = self._series[reward.target, reward.source]
        series.add(reward)
        if reward.anew and not told and _is_due(series.told_ns, reward.stamp_ns):
            series.told_ns = reward.stamp_ns
            self._news.append(
                f"rewards of target '{reward.target}' start anew at {_seconds(reward.stamp_ns)}: {reward.reason}"
            )

    def give_up(self, label: str, source: str, stamp_ns: int, reason: str) -> Reward:
        """From here on, until it is set again or forgotten, its rewards are not valid; that of this frame."""
        series = self._series[label, source] = self._series.pop((label, source))
        series.state, series.reason = State.GIVEN_UP, f"{reason}; set the target again"
        self._news.append(f"target '{label}' ({source}) is given up at {_seconds(stamp_ns)}: {series.reason}")
        over = [key for key, s in self._series.items() if s.state == State.GIVEN_UP]
        for key in over[:-MOST_GIVEN_UP]:
            del self._series[key]
        return series.given_up(stamp_ns)

    def given_up(self, camera: str, stamp_ns: int) -> list[Reward]:
        """Rewards of what was given up, in a frame of its camera."""
        over = [s for s in self._series.values() if s.state == State.GIVEN_UP and s.target.camera == camera]
        return [s.given_up(stamp_ns) for s in over]

    def camera_jumped(self, camera: str, stamp_ns: int, jump: str) -> None:
        """Say so, unless it was said lately or concerns nobody."""
        labels = dict.fromkeys(s.target.label for s in self.live if s.target.camera == camera)
        if labels and _is_due(self._told_ns.get(camera), stamp_ns):
            self._told_ns[camera] = stamp_ns
            self._news.append(
                f"{jump} at {_seconds(stamp_ns)}, which is no motion: rewards of {', '.join(labels)} start anew;"
                " if it does move so fast, raise motion.max_speed or motion.max_turn_rate"
            )


def _is_due(told_ns: int | None, now_ns: int) -> bool:
    return told_ns is None or abs(now_ns - told_ns) >= SAY_AGAIN_NS


def _seconds(stamp_ns: int) -> str:
    return f"{stamp_ns / 1e9:.3f} s"
