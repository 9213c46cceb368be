import os
import stat
import threading

import pytest

from tlp_core.atomic_files import atomic_write


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
