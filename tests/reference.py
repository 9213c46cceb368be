"""Writes the reference of ``tlp_core`` from its docstrings, by pdoc.

python tests/reference.py FOLDER
"""

import pkgutil
import sys
from pathlib import Path

import tlp_core


def module_names() -> list[str]:
    """Return the package and all its modules; pdoc would stop at the package's public names."""
    modules = pkgutil.walk_packages(tlp_core.__path__, "tlp_core.")
    return ["tlp_core", *(m.name for m in modules if not m.name.endswith("__main__"))]


def main(folder: Path) -> None:
    """Write HTML pages into a folder."""
    import pdoc
    import pdoc.render

    for name in tlp_core.__all__:  # pdoc does not see what is imported at its first use
        setattr(tlp_core, name, getattr(tlp_core, name))
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc(*module_names(), output_directory=folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
