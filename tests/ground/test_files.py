import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, get_native_id

import pytest

from spatial_mllm_ros.files import left_behind, whole, whole_folder, write_whole


@pytest.fixture
def umask():
    """Files that the group may read, and nobody else."""
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_written_whole(tmp_path):
    write_whole(tmp_path / "a.txt", "é\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\n"
    write_whole(str(tmp_path / "a.txt"), b"\0")
    assert (tmp_path / "a.txt").read_bytes() == b"\0" and os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("kept", ["", "as it was"])
@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_what_was_there(tmp_path, kept, fault):
    path = tmp_path / "a.json"
    if kept:
        path.write_text(kept)
    with pytest.raises(fault), whole(path) as beside:
        beside.write_text("half")
        assert beside.suffix == ".json" and beside.parent == tmp_path
        assert not kept or path.read_text() == kept
        raise fault
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == ([("a.json", kept)] if kept else [])


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(FileExistsError, match="not a regular file") as caught:
            write_whole(path, "text")
        assert caught.value.filename == str(path)
    assert (tmp_path / "pipe").is_fifo() and os.listdir(tmp_path) == ["pipe"]


def test_errors_name_the_file_that_was_asked_for(tmp_path):
    path = tmp_path / "none" / "a.txt"
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(path, "text")
    assert caught.value.filename == str(path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_whole(tmp_path / "folder", "text")
    assert caught.value.filename == str(tmp_path / "folder") and caught.value.filename2 is None
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.txt'$"), whole(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OSError, match=r"^a library's own words$"), whole(tmp_path / "a.txt"):
        raise OSError("a library's own words")
    with pytest.raises(OSError, match=r"'.*folder/images\.npy'$") as caught, whole_folder(tmp_path / "folder") as made:
        (made / "images.npy").read_bytes()
    with pytest.raises(FileNotFoundError) as caught, whole(tmp_path / "a.txt"):
        (tmp_path / "another").read_bytes()
    assert caught.value.filename == str(tmp_path / "another")
    assert os.listdir(tmp_path) == ["folder"]


def test_writers_of_one_name_do_not_meet(tmp_path):
    together = Barrier(4)

    def write(number):
        with whole(tmp_path / "a.txt") as beside, beside.open("w") as file:
            for _ in range(100):
                file.write(f"{number}\n")
                file.flush()
            together.wait(30)  # all have written, none has renamed

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert (tmp_path / "a.txt").read_text() in {f"{number}\n" * 100 for number in range(4)}
    assert os.listdir(tmp_path) == ["a.txt"]


def test_who_may_read_it_is_as_of_a_file_plainly_written(tmp_path, umask):
    (tmp_path / "plain").touch()
    with whole(tmp_path / "a") as beside:
        os.close(os.open(beside, os.O_RDWR))
        beside.chmod(0o600)  # as safetensors and tempfile leave theirs
    assert mode(tmp_path / "a") == mode(tmp_path / "plain") == 0o640
    (tmp_path / "a").chmod(0o604)
    write_whole(tmp_path / "a", "again")
    assert mode(tmp_path / "a") == 0o604
    with whole_folder(tmp_path / "folder"):
        pass
    assert mode(tmp_path / "folder") == 0o750


def test_a_folder_replaces_the_one_that_was_there(tmp_path):
    for name in ("first", "second"):
        with whole_folder(tmp_path / "made") as beside:
            assert list(beside.iterdir()) == []
            (beside / name).touch()
        assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["made", f"made/{name}"]


def test_a_folder_that_fails_leaves_the_one_that_was_there(tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made/kept").touch()
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "made") as beside:
        (beside / "half").touch()
        raise RuntimeError
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "other") as beside:
        raise RuntimeError
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == ["made", "made/kept"]


def test_a_folder_that_cannot_take_its_place_leaves_the_one_that_was_there(tmp_path, monkeypatch):
    replace = os.replace

    def refuse(source, place):
        if place == tmp_path / "made" and (source / "new").exists():
            raise PermissionError(errno.EACCES, "Permission denied", str(source), None, str(place))
        replace(source, place)

    (tmp_path / "made").mkdir()
    (tmp_path / "made/kept").touch()
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError, match=r"made'$"), whole_folder(tmp_path / "made") as beside:
        (beside / "new").touch()
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == ["made", "made/kept"]


def test_a_folder_that_the_block_removed_is_not_put_there(tmp_path):
    with whole_folder(tmp_path / "made") as beside:
        beside.rmdir()
    assert os.listdir(tmp_path) == []


def test_what_killed_writers_left_is_found(tmp_path):
    (tmp_path / ".made.cache").touch()  # of somebody else
    with whole(tmp_path / "a.txt") as file, whole_folder(tmp_path / "made") as folder:
        assert list(left_behind(tmp_path / "a.txt")) == [file]
        assert list(left_behind(tmp_path / "made")) == [folder]
    assert not list(left_behind(tmp_path / "a.txt")) and not list(left_behind(tmp_path / "made"))


def test_what_a_killed_process_of_the_same_number_left_is_not_mixed_in(tmp_path):
    left = tmp_path / f".made.{get_native_id()}"
    left.mkdir()
    (left / "half").touch()
    with whole_folder(tmp_path / "made") as beside:
        assert beside == left and list(beside.iterdir()) == []
