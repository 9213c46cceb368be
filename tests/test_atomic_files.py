import os
import stat
import threading
from contextlib import suppress

import numpy as np
import pytest

from tlp_core import Landscape
from tlp_core.atomic_files import atomic_write, unfinished_folder
from tlp_core.landscape.store import LandscapeStore


def test_a_file_is_written_completely_or_not_changed(tmp_path):
    path = tmp_path / "a.csv"
    with atomic_write(path) as unfinished:
        unfinished.write_text("one")
        assert not path.exists()
        assert unfinished.suffix == ".csv"
    assert path.read_text() == "one"
    with pytest.raises(TypeError), atomic_write(path) as unfinished, open(unfinished, "w") as file:
        file.writelines(["half", 2])
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link.txt").symlink_to(tmp_path / "there" / "file.txt")
    with atomic_write(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "there" / "file.txt").read_text() == "new"
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["file.txt"]


def test_a_pipe_is_written_and_stays_one(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with atomic_write(pipe) as temporary:
        temporary.write_text("through")
    reader.join()
    assert read == ["through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_stays_a_device():
    with atomic_write(os.devnull) as temporary:
        temporary.write_text("gone")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@pytest.mark.parametrize("path", [".", ""])
def test_a_folder_is_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(IsADirectoryError, match="must be a file, got the folder"),
        atomic_write(path),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_removed_after_an_hour(tmp_path):
    old, new = tmp_path / ".a.01234567.csv", tmp_path / ".a.89abcdef.csv"
    other = tmp_path / ".ab.01234567.csv"
    for file in (old, new, other):
        file.write_text("left")
    for file in (old, other):
        os.utime(file, (0, 0))
    with atomic_write(tmp_path / "a.csv") as temporary:
        temporary.write_text("whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        ".a.89abcdef.csv",
        ".ab.01234567.csv",
        "a.csv",
    ]


def test_partial_chunks_and_stores_of_killed_runs_are_removed(tmp_path):
    store = tmp_path / "a.zarr"
    Landscape(np.ones((3, 3)), np.ones(2), np.ones((3, 3), bool)).save(store)
    partial, draft = store / "loss" / "c" / "0" / "0.x.partial", tmp_path / f".b.zarr.{'0' * 32}"
    partial.write_text("left")
    draft.mkdir()
    for left in (partial, draft):
        os.utime(left, (0, 0))
    LandscapeStore.resume(store, (3, 3), np.ones(2), {})
    assert not partial.exists()
    Landscape.open(store).save(tmp_path / "b.zarr")
    assert not draft.exists()


def test_a_folder_of_a_running_process_is_not_taken_over(tmp_path):
    """Two at a time have two folders; that of a process which ended is taken over."""
    with unfinished_folder(tmp_path / "a") as first:
        (first / "half").write_text("done")
        with unfinished_folder(tmp_path / "a") as second:
            assert second != first
    with suppress(KeyboardInterrupt), unfinished_folder(tmp_path / "a") as stopped:
        (stopped / "half").write_text("done")
        raise KeyboardInterrupt
    with unfinished_folder(tmp_path / "a") as again:
        assert again == stopped
        assert (again / "half").read_text() == "done"
        again.rename(tmp_path / "a")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["half"]


def test_a_users_hidden_file_of_a_similar_name_stays(tmp_path):
    kept = tmp_path / ".a.settings.csv"
    kept.write_text("mine")
    os.utime(kept, (0, 0))
    with atomic_write(tmp_path / "a.csv") as temporary:
        temporary.write_text("whole")
    assert kept.read_text() == "mine"
