"""The modules beside a user's problem file: what it imports, and its imports made fresh.

Modules may change between two loads, and a module of another folder may have the same name.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOADED: set[str] = set()
"""Names of the modules that problem files have imported from their own folders."""


def local_files(file: Path) -> list[Path]:
    """Return a file and every file of its folder that it imports, directly or not, sorted.

    Imports anywhere in the code count, also those within a function. Files that do not parse import
    nothing.
    """
    folder, waiting, found = file.resolve().parent, [file.resolve()], set[Path]()
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [p for name in _imported_names(path, folder) for p in _files(name, folder)]
    return sorted(found)


@contextmanager
def fresh_local_imports(file: Path) -> Iterator[None]:
    """Make the modules beside a file importable, and import them again.

    Compiled copies are neither read nor written, because Python compares them with their source by
    time, to the second.
    """
    folder = file.resolve().parent
    for name in _LOADED:
        sys.modules.pop(name, None)
    _LOADED.clear()
    known, writes_no_bytecode = set(sys.modules), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = writes_no_bytecode
        _LOADED.update(_modules_beside(folder, set(sys.modules) - known, known=known))


def _imported_names(path: Path, folder: Path) -> list[str]:
    """Return the dotted names that a file imports, relative ones from its folder."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return []
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = path.parents[node.level - 1] if node.level else folder
            if node.level and folder not in (start, *start.parents):
                continue
            package = ".".join(start.relative_to(folder).parts)
            module = ".".join(part for part in (package, node.module) if part)
            names += [f"{module}.{alias.name}".strip(".") for alias in node.names]
    return names


def _files(name: str, folder: Path) -> list[Path]:
    """Return the files of a module and its packages in a folder."""
    found, place = [], folder
    for part in name.split("."):
        place = place / part
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                found.append(path.resolve())
    return found


def _modules_beside(folder: Path, names: set[str], *, known: set[str]) -> set[str]:
    """Return the names of modules in a folder, except parts of known or installed packages.

    A virtual environment may lie in the folder, too.
    """
    own = (name for name in names if name.split(".")[0] not in known)
    files = {name: getattr(sys.modules[name], "__file__", None) for name in own}
    paths = {name: Path(file).resolve() for name, file in files.items() if file}
    return {
        name
        for name, path in paths.items()
        if folder in path.parents and not {"site-packages", "dist-packages"} & set(path.parts)
    }
