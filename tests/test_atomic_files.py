import pytest

from tlp_core.atomic_files import atomic_write


def test_a_file_is_written_completely_or_not_changed(tmp_path):
    path = tmp_path / "a.csv"
    with atomic_write(path) as draft:
        draft.write_text("one")
        assert not path.exists()
        assert draft.suffix == ".csv"
    assert path.read_text() == "one"
    with pytest.raises(TypeError), atomic_write(path) as draft, open(draft, "w") as file:
        file.writelines(["half", 2])
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]
