"""What others leave in the way, broken disks and large sets: what is there stays whole, and is told plainly."""

import errno
import fcntl
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from spatial_mllm_ros.annotate import progress as kept
from spatial_mllm_ros.lerobot import dataset
from spatial_mllm_ros.lerobot import features as f
from spatial_mllm_ros.lerobot.convert import write_dataset
from spatial_mllm_ros.lerobot.dataset import DataSet, Episode, Origin
from spatial_mllm_ros.lerobot.map import read_map
from spatial_mllm_ros.lerobot.video import VideoWriter
from spatial_mllm_ros.lerobot.work import work_folder
from spatial_mllm_ros.recordings import BagError

from .arm import messages, write
from .test_data_set import BARE, digests

av = pytest.importorskip("av")
pq = pytest.importorskip("pyarrow.parquet")


def planted_link(folder):
    folder.mkdir(0o755)
    (folder / "lock").symlink_to(folder.parent / "precious")


def open_folder(folder):
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "rewards-0.mcap").write_text("planted")


def linked_folder(folder):
    (folder.parent / "elsewhere").mkdir()
    folder.symlink_to("elsewhere")


@pytest.mark.parametrize("plant", [planted_link, open_folder, linked_folder])
def test_what_others_planted_is_refused(tmp_path, plant):
    (tmp_path / "precious").write_text("precious")
    plant(tmp_path / ".set.progress")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BagError, match="could have been written by others"), work_folder(tmp_path / "set"):
        pass
    assert (tmp_path / "precious").read_text() == "precious" and sorted(tmp_path.rglob("*")) == before


def test_a_link_that_comes_after_the_check_is_not_followed(tmp_path, monkeypatch):
    (tmp_path / "precious").write_text("precious")
    planted_link(tmp_path / ".set.progress")
    monkeypatch.setattr(kept, "_refuse_others", lambda folder, out: None)
    with pytest.raises(BagError, match="set cannot be written"), work_folder(tmp_path / "set"):
        pass
    assert (tmp_path / "precious").read_text() == "precious"


def test_two_at_once(tmp_path):
    with work_folder(tmp_path / "set") as folder:
        with pytest.raises(BagError, match="another process is writing"), work_folder(tmp_path / "set"):
            pass
        assert folder.is_dir()
    assert not folder.exists()


def test_a_lock_whose_folder_was_just_removed_is_taken_anew(tmp_path, monkeypatch):
    folder, flock, times = tmp_path / ".set.progress", fcntl.flock, []

    def late(file, how):
        if not times:  # another process ends between the opening and the lock
            shutil.rmtree(folder)
        times.append(how)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with work_folder(tmp_path / "set"):
        assert len(times) == 2
        held = os.open(folder / "lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(held)


def test_the_lock_goes_last(tmp_path, monkeypatch):
    left = []
    rmtree = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda path, **how: (left.append(os.listdir(path)), rmtree(path, **how)))
    with work_folder(tmp_path / "set") as folder:
        (folder / "a").write_text("")
    assert left[-1] == ["lock"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_rewards_that_are_being_measured_are_kept(tmp_path, error):
    with pytest.raises(error), work_folder(tmp_path / "set") as folder:
        (folder / ".rewards-12.mcap.progress").mkdir()
        (folder / ".rewards-12.mcap.progress/state").write_text("half")
        raise error
    with work_folder(tmp_path / "set") as folder:
        assert (folder / ".rewards-12.mcap.progress/state").read_text() == "half"
    assert not folder.exists()


def test_a_set_behind_a_link(tmp_path):
    bag = write(tmp_path / "arm.mcap", messages(0.5))
    (tmp_path / "disk").mkdir()
    (tmp_path / "set").symlink_to(tmp_path / "disk/set")
    (tmp_path / "disk/set").mkdir()
    with work_folder(tmp_path / "set") as folder:
        assert folder == tmp_path / "disk/.set.progress"
    assert write_dataset([bag], tmp_path / "set", BARE).episodes == 1
    assert (tmp_path / "disk/set/meta/info.json").exists()


def test_a_set_on_another_disk(tmp_path, monkeypatch):
    """Each rename is on one disk, though ``set`` is another than its parent, as a mounted volume is."""
    out, stat = tmp_path / "set", Path.stat
    out.mkdir()

    def mounted(path, **how):
        found = stat(path, **how)
        if path == out:
            values = list(found)
            values[2] += 1  # st_dev
            return os.stat_result(values)
        return found

    bag = write(tmp_path / "arm.mcap", messages(0.5))
    monkeypatch.setattr(Path, "stat", mounted)
    with work_folder(out) as folder:
        assert folder == out / ".progress"
    for resumed in (0, 1):
        assert write_dataset([bag], out, BARE).resumed == resumed
        assert not (out / ".progress").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_renamed_copy_is_known(tmp_path):
    bag = write(tmp_path / "arm.mcap", messages(0.5))
    write_dataset([bag], tmp_path / "set", BARE)
    there = digests(tmp_path / "set")
    copy = shutil.copy(bag, tmp_path / "renamed.mcap")
    assert write_dataset([copy], tmp_path / "set", BARE).resumed == 1
    assert digests(tmp_path / "set") == there


STATE = {"observation.state": f.numbers("float32", ("a", "b"))}
VIDEO = {"observation.images.front": f.images((64, 48), 20, "h264")}


def begun(tmp_path, features=STATE, fps=20):
    (tmp_path / "beside").mkdir(exist_ok=True)
    made = DataSet(tmp_path / "set", tmp_path / "beside")
    made.begin(features, fps, "arm")
    return made


def episode(tmp_path, number, video=False, length=2, task="push"):
    """Its state is ``number`` and -``number`` in all frames."""
    videos = {}
    if video:
        videos = {key: tmp_path / "beside/a.mp4" for key in VIDEO}
        (tmp_path / "beside/a.mp4").write_bytes(b"images")
    state = np.full((length, 2), [number, -number], np.float32)
    return Episode(Origin("a", str(number), 0, "", 9), {"observation.state": state}, [task] * length, videos, {})


def files(tmp_path):
    return sorted(str(p.relative_to(tmp_path / "set")) for p in (tmp_path / "set").rglob("*") if p.is_file())


def test_a_set_without_episodes_takes_any_features(tmp_path):
    begun(tmp_path, VIDEO | STATE, 10).finish()
    made = begun(tmp_path)
    assert made.features == STATE | f.automatic()
    made.add(episode(tmp_path, 0))
    made.finish()
    info = json.loads((tmp_path / "set/meta/info.json").read_text())
    assert (info["fps"], info["total_episodes"]) == (20, 1) and "observation.images.front" not in info["features"]
    with pytest.raises(BagError, match="has 20 frames a second, these would have 10"):
        begun(tmp_path, STATE, 10)


def full_at(monkeypatch, kind):
    moved = dataset._moved

    def full(made, path):
        moved(made, path)
        if f"/{kind}/" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(dataset, "_moved", full)


@pytest.mark.parametrize("kind", ["videos/observation.images.front", "data", "meta/episodes"])
def test_nothing_is_left_of_an_episode_that_could_not_be_written(tmp_path, monkeypatch, kind):
    made = begun(tmp_path, VIDEO | STATE)
    made.add(episode(tmp_path, 0, True))
    before = files(tmp_path)
    with monkeypatch.context() as patched:
        full_at(patched, kind)
        with pytest.raises(BagError, match="No space left"):
            made.add(episode(tmp_path, 1, True, task="pull"))
    assert files(tmp_path) == before
    made.add(episode(tmp_path, 2, True, task="lift"))
    made.finish()
    assert pq.read_table(tmp_path / "set/meta/tasks.parquet")["task"].to_pylist() == ["push", "lift"]


@pytest.mark.parametrize("when", ["begin", "finish"])
def test_what_a_killed_run_left_is_removed(tmp_path, when):
    made = begun(tmp_path, VIDEO | STATE)
    made.add(episode(tmp_path, 0, True))
    made.finish()
    before = files(tmp_path)
    for left in ("data/chunk-000/file-001.parquet", "videos/observation.images.front/chunk-000/file-001.mp4"):
        (tmp_path / "set" / left).write_text("of no episode")
    if when == "begin":
        begun(tmp_path, VIDEO | STATE)
    else:
        DataSet(tmp_path / "set", tmp_path / "beside").finish()
    assert files(tmp_path) == before


@pytest.mark.parametrize("kind", ["data", "videos/observation.images.front"])
@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_an_episode_that_lacks_a_file_is_named(tmp_path, kind, spoil):
    made = begun(tmp_path, VIDEO | STATE)
    for number in range(2):
        made.add(episode(tmp_path, number, True))
    made.finish()
    spoil(next((tmp_path / "set" / kind).glob("*/file-001.*")))
    with pytest.raises(BagError, match=r"file-001\.\w+ of episode 1 is not there, or empty: put it back"):
        begun(tmp_path, VIDEO | STATE)


def test_an_episode_whose_row_is_gone_is_named(tmp_path):
    made = begun(tmp_path)
    for number in range(3):
        made.add(episode(tmp_path, number))
    (tmp_path / "set/meta/episodes/chunk-000/file-001.parquet").unlink()
    with pytest.raises(BagError, match="has no episode 1 in meta/episodes"):
        begun(tmp_path)


def test_files_are_on_the_disk_before_the_row(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda handle: (done.append(os.readlink(f"/proc/self/fd/{handle}")), fsync(handle))
    )
    monkeypatch.setattr(os, "replace", lambda made, path: (done.append(f"> {path}"), replace(made, path)))
    made = begun(tmp_path, VIDEO | STATE)
    done.clear()
    made.add(episode(tmp_path, 0, True))
    out, chunk = tmp_path / "set", "chunk-000"
    expected = []
    for made_as, kind, name in (
        ("a.mp4", "videos/observation.images.front", "file-000.mp4"),
        ("table.parquet", "data", "file-000.parquet"),
        ("table.parquet", "meta/episodes", "file-000.parquet"),
    ):
        expected += [str(tmp_path / "beside" / made_as), f"> {out / kind / chunk / name}", str(out / kind / chunk)]
    assert done == expected


def test_adding_takes_no_more_files_the_more_there_are(tmp_path, monkeypatch):
    made, moved, written = begun(tmp_path), dataset._moved, []
    monkeypatch.setattr(dataset, "_moved", lambda made, path: (written.append(path), moved(made, path)))
    for number in range(5):
        made.add(episode(tmp_path, number, length=number + 1))
    assert len(written) == 5 * 2
    made.finish()
    assert [path.name for path in written[10:]] == ["tasks.parquet", "stats.json", "info.json"]
    again = DataSet(tmp_path / "set", tmp_path / "beside")
    again.finish()
    assert len(written) == 13 and again.find(Origin("b", "3", 0, "", 0)) == 9
    stats = json.loads((tmp_path / "set/meta/stats.json").read_text())["observation.state"]
    values = np.repeat(np.arange(5.0), np.arange(1, 6))
    assert stats["count"] == [15] and stats["max"] == [4, 0]
    np.testing.assert_allclose(stats["mean"], [values.mean(), -values.mean()])
    np.testing.assert_allclose(stats["std"], [values.std()] * 2)


def test_what_a_killed_run_did_not_tell_is_told(tmp_path):
    begun(tmp_path).add(episode(tmp_path, 0))
    assert json.loads((tmp_path / "set/meta/info.json").read_text())["total_episodes"] == 0
    DataSet(tmp_path / "set", tmp_path / "beside").finish()
    assert json.loads((tmp_path / "set/meta/info.json").read_text())["total_episodes"] == 1
    assert (tmp_path / "set/meta/tasks.parquet").exists()


LEVELS = 22
BOMB = "".join(f"- &a{i} [{f'*a{i - 1}, ' * 9 if i else '/joints'}]\n" for i in range(LEVELS))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"state:\n{BOMB}", "it has an alias (*name)"),
        (f"robot:\n{BOMB}", "it has an alias (*name)"),
        ("robot: [a, b]", "robot is a list: expected a text"),
        ("robot: {a: b}", "robot is a mapping: expected a text"),
        (f"state: [{'/joints, ' * 65}]", "state has 65 entries: expected 64 at most"),
        (f"images: {{{', '.join(f'a{i}: /a' for i in range(65))}}}", "images has 65 entries: expected 64 at most"),
        ("episodes: {times: [[0, .inf]]}", "a number"),
        ("episodes: {times: [[0, inf]]}", "that are finite"),
        ("episodes: {times: [[nan, 1]]}", "that are finite"),
        ("episodes: {times: [[-inf, 1]]}", "that are finite"),
    ],
)
def test_maps_that_would_take_over(tmp_path, text, said):
    (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(BagError) as error:
        read_map(tmp_path / "map.yaml")
    assert said in str(error.value) and len(str(error.value)) < 300


def test_many_vectors_are_read(tmp_path):
    (tmp_path / "map.yaml").write_text(f"state: [{'/joints, ' * 64}]")
    assert len(read_map(tmp_path / "map.yaml").state or ()) == 64


def test_a_size_that_no_encoder_takes_is_said(tmp_path):
    with pytest.raises(BagError, match=r"^/a, 40000x2 pixels at 20 frames a second, cannot be encoded by libx264: "):
        VideoWriter(tmp_path / "a.mp4", 20, (40000, 2), "h264", "/a")


def test_an_encoder_that_fails_is_said_and_a_full_disk_stays_one(tmp_path, monkeypatch):
    video = VideoWriter(tmp_path / "a.mp4", 20, (64, 48), "h264", "/a")
    for number, kind in ((errno.EINVAL, BagError), (errno.ENOSPC, OSError)):

        def fail(image, number=number):
            raise av.error.FFmpegError(number, "no")

        def full(image, number=number):
            raise av.error.OSError(number, "no")

        monkeypatch.setattr(video, "_write", fail if kind is BagError else full)
        with pytest.raises(kind, match="no"):
            video.write(np.zeros((48, 64, 3), np.uint8))
    monkeypatch.undo()
    video.__exit__(OSError)
