"""What others leave in the way, broken disks and large sets: what is there stays whole, and is told plainly."""

import fcntl
import os
import shutil

import pytest

from spatial_mllm_ros.annotate import progress as kept
from spatial_mllm_ros.lerobot.work import work_folder
from spatial_mllm_ros.recordings import BagError


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
