"""What is kept of an annotation is data: it runs no code, is this user's alone, and is bounded."""

import io
import json
import os
import pickle
import random
import warnings
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import pytest
from numpy.typing import NDArray

from spatial_mllm_ros.annotate import bag as module
from spatial_mllm_ros.annotate.bag import State, annotate
from spatial_mllm_ros.annotate.progress import Progress
from spatial_mllm_ros.annotate.state import TREE, Codec, StateError
from spatial_mllm_ros.config import MotionParams
from spatial_mllm_ros.motion.targets import Target
from spatial_mllm_ros.recordings import BagError, BagWarning

from ..recordings.card import CARD, pushed
from ..recordings.recordings import write_ros2
from .test_annotate import interrupted_at


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return write_ros2(tmp_path_factory.mktemp("scene") / "scene", pushed(20))


@pytest.fixture
def begun(scene, tmp_path, monkeypatch):
    """An output whose annotation was interrupted after a checkpoint."""
    monkeypatch.setattr(module, "CHECKPOINT", 7)
    out = tmp_path / "out.mcap"
    with pytest.raises(KeyboardInterrupt):
        annotate(scene, out, targets=[Target("card", roi=CARD)], progress=interrupted_at(16))
    return out


def again(scene, out):
    return annotate(scene, out, targets=[Target("card", roi=CARD)])


@pytest.mark.parametrize("behind_a_head", [False, True])
def test_a_pickle_is_not_opened(scene, begun, tmp_path, behind_a_head):
    state, mark = tmp_path / ".out.mcap.progress" / "state", tmp_path / "ran"
    head = state.read_bytes().partition(b"\n")[0] + b"\n" if behind_a_head else b""
    state.write_bytes(head + pickle.dumps(Evil(mark)))
    with pytest.warns(BagWarning, match="is not used, it is damaged; starting anew"):
        assert again(scene, begun).resumed == 0
    assert not mark.exists()


def test_an_array_of_objects_is_not_opened(tmp_path):
    file = io.BytesIO()
    np.save(file, np.array([Evil(tmp_path / "ran")], object), allow_pickle=True)
    with pytest.raises(StateError):
        Codec(NDArray[np.float64], {}).load(packed("0", file.getvalue()))
    assert not (tmp_path / "ran").exists()


def test_the_folder_is_the_users_alone(begun):
    assert (begun.parent / ".out.mcap.progress").stat().st_mode & 0o777 == 0o700


def make_open(folder):
    folder.chmod(0o777)


def open_a_file(folder):
    folder.chmod(0o755)
    (folder / "state").chmod(0o664)


def link_the_folder(folder):
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")


def link_a_file(folder):
    (folder.parent / "precious").write_text("precious")
    (folder / "lock").unlink()
    (folder / "lock").symlink_to(folder.parent / "precious")


def pipe(folder):
    (folder / "records").unlink()
    os.mkfifo(folder / "records")


def name_a_file(folder):
    folder.rename(folder.with_name("elsewhere"))
    folder.write_text("")


@pytest.mark.parametrize("spoil", [make_open, open_a_file, link_the_folder, link_a_file, pipe, name_a_file])
def test_what_others_could_have_written_is_refused(scene, begun, spoil):
    spoil(begun.parent / ".out.mcap.progress")
    with pytest.raises(
        BagError, match=r"could have been written by others: .* remove .*\.out\.mcap\.progress to start"
    ):
        again(scene, begun)
    precious = begun.parent / "precious"
    assert not precious.exists() or precious.read_text() == "precious"


def test_the_folder_of_another_user_is_refused(scene, begun, monkeypatch):
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    with pytest.raises(BagError, match="could have been written by others"):
        again(scene, begun)


def test_a_closed_folder_may_hold_files_of_any_mode(scene, begun):
    for file in (begun.parent / ".out.mcap.progress").iterdir():
        file.chmod(0o666)
    assert again(scene, begun).resumed == 14


class Mood(IntEnum):
    GOOD = 1


@dataclass
class Part:
    name: str
    size: tuple[int, int] = (3, 4)
    mood: Mood = Mood.GOOD


class Other:
    here: NDArray[np.int64]

    def __init__(self):
        self.here = np.arange(3)


class Whole:
    parts: list[Part]
    one: "Part | Other"
    numbers: dict[tuple[str, str], float]
    matrix: NDArray[np.float64]
    mask: NDArray[np.bool_]
    nothing: int | None
    left: MotionParams
    counted: Counter[str]

    def __init__(self):
        self.parts, self.one = [Part("ä\n"), Part("", (5, 6))], Other()
        self.numbers = {("a", "b"): float("nan"), ("c", "d"): 0.1 + 0.2, ("e", "f"): float("-inf")}
        self.matrix = np.asfortranarray(np.random.default_rng(0).random((3, 4)))
        self.mask, self.nothing, self.left = np.array([True, False]), None, MotionParams(deadband=0.5)
        self.counted = Counter({"x": 2})


def test_a_state_comes_back_bit_for_bit():
    whole, given = Whole(), MotionParams()
    got = Codec(Whole, {MotionParams: given}).load(Codec(Whole, {MotionParams: given}).dump(whole))
    assert got.parts == whole.parts and type(got.parts[0].mood) is Mood and got.left is given
    assert got.matrix.tobytes() == whole.matrix.tobytes() and got.matrix.flags.f_contiguous
    assert got.mask.dtype == bool and got.mask.tolist() == [True, False]
    assert type(got.one) is Other and got.one.here.tolist() == [0, 1, 2]
    assert repr(got.numbers) == repr(whole.numbers)
    assert type(got.counted) is Counter and got.counted == {"x": 2} and got.nothing is None


def test_what_is_not_declared_is_not_written():
    whole = Whole()
    whole.more = 1
    with pytest.raises(StateError, match="expected Whole"):
        Codec(Whole, {MotionParams: None}).dump(whole)


def packed(tree, *arrays, method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as members:
        members.writestr(TREE, tree)
        for number, array in enumerate(arrays):
            members.writestr(f"{number}.npy", array)
    return file.getvalue()


def npy(shape, kind="<f8", data=b""):
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + data


@dataclass
class Bag:
    arrays: list[NDArray[np.float64]] = field(default_factory=list)


BOMBS = {
    "one array, many times": packed(json.dumps({"arrays": [0] * 200_000}), npy((125_000,), data=bytes(1_000_000))),
    "compressed": packed('{"arrays": [0]}', npy((10**7,), data=bytes(8 * 10**7)), method=zipfile.ZIP_DEFLATED),
    "a shape that is not there": packed('{"arrays": [0]}', npy((10**13,))),
    "deep": packed('{"arrays": ' + "[" * 1_000_000),
    "long": packed('{"arrays": [' + "0," * 3_000_000 + "0]}"),
    "another type": packed('{"arrays": [0]}', npy((1,), "<i8", bytes(8))),
    "another attribute": packed('{"arrays": [], "append": 1}'),
    "no list": packed('{"arrays": {}}'),
    "an array that is none": packed('{"arrays": ["0"]}'),
    "no array": packed('{"arrays": [0]}'),
    "nothing": b"",
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.timeout(10)
def test_a_state_takes_no_more_than_it_has(name):
    with pytest.raises(StateError):
        Codec(Bag, {}).load(BOMBS[name])


def test_a_number_that_goes_wrong_later_is_said(scene, begun):
    """Of the right types, but no state that a run can be in: points without textures."""
    folder = begun.parent / ".out.mcap.progress"
    head, _, data = (folder / "state").read_bytes().partition(b"\n")
    codec = Codec(State, {MotionParams: MotionParams()})
    report, followed = codec.load(data)
    body = followed._followers["card"]._body
    body._members = body._members[:3]
    (folder / "state").write_bytes(head + b"\n" + codec.dump((report, followed)))
    with pytest.raises(BagError, match=r"going on with .*out\.mcap has failed \(\w+: .*\): remove .* to start anew"):
        again(scene, begun)


@pytest.mark.parametrize("seed", range(4))
def test_bytes_that_changed_are_noticed_or_harmless(begun, seed):
    """300 mutations of a state and of records each: read, or not used, or an error in words."""
    chance, folder = random.Random(seed), begun.parent / ".out.mcap.progress"
    whole = {name: (folder / name).read_bytes() for name in ("state", "records")}
    codec, key = Codec(State, {MotionParams: MotionParams()}), json.loads(whole["state"].partition(b"\n")[0])["key"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BagWarning)
        for _ in range(300):
            for name, data in whole.items():
                changed = bytearray(data)
                for _ in range(chance.choice((1, 1, 3, 30))):
                    changed[chance.randrange(min(len(changed), chance.choice((300, 10**9))))] = chance.randrange(256)
                (folder / name).write_bytes(changed[: chance.choice((len(data), chance.randrange(len(data))))])
            kept = Progress(begun, key, codec)
            try:
                for _, record in kept.records():
                    assert len(record) < 1000
            except BagError:
                pass
            kept.close()
