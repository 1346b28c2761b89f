"""What others leave in the way, broken disks and large sets: what is there stays whole, and is told plainly."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from spatial_mllm_ros.annotate import progress as kept
from spatial_mllm_ros.lerobot.convert import write_dataset
from spatial_mllm_ros.lerobot.work import work_folder
from spatial_mllm_ros.recordings import BagError

from .arm import messages, write
from .test_data_set import BARE, digests


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
