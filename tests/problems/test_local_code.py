"""What a problem file imports from its own folder."""

from tlp_core.problems.local_code import local_files


def test_every_import_beside_the_file_counts(tmp_path):
    sources = {
        "net.py": "import numpy, one\nfrom pack import part\ndef f():\n    import pack.lazy\n",
        "one.py": "from two import *\n",
        "two.py": "import one, missing\n",
        "unused.py": "",
        "pack/__init__.py": "",
        "pack/part.py": "from . import near\nfrom .sub.deep import x\nfrom .. import two\n",
        "pack/near.py": "",
        "pack/lazy.py": "this does not parse",
        "pack/sub/__init__.py": "",
        "pack/sub/deep.py": "x = 1",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = [str(path.relative_to(tmp_path)) for path in local_files(tmp_path / "net.py")]
    assert found == sorted(set(sources) - {"unused.py"})


def test_a_file_that_is_missing_imports_nothing(tmp_path):
    assert local_files(tmp_path / "no.py") == [tmp_path / "no.py"]
