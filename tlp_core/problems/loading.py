"""Problems by name: a ready one, a user's Python file, or a Hugging Face model.

A name is a ready name (``pinn-convection``), a file and the function in it that returns a
:class:`~tlp_core.Problem` (``my_net.py:make_problem``), or ``hf:FOLDER``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from tlp_core.content_hash import hash_file
from tlp_core.problem import Problem
from tlp_core.problems import HUGGING_FACE, READY_PROBLEMS
from tlp_core.problems.weights import load_checkpoint
from tlp_core.version import __version__

DEFAULT_FUNCTION = "make_problem"


def load_problem(
    name: str,
    *,
    arguments: Mapping[str, Any] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Problem:
    """Return a problem by its name, with the parameters of a checkpoint.

    Args:
        name: a ready name, ``FILE.py`` or ``FILE.py:FUNCTION`` (the function defaults to
            ``make_problem``), or ``hf:FOLDER`` for a causal language model of Hugging Face.
        arguments: keyword arguments of the function; default: none.
        checkpoint: file of the weights (:func:`~tlp_core.problems.weights.read_state`); default:
            the problem's own.

    Raises:
        FileNotFoundError: if the problem's file or the checkpoint does not exist.
        ValueError: for a file that does not parse or has no such function, arguments that it does
            not take, or a checkpoint that is none or belongs to another network.
        RuntimeError: if the file or the function raises.
        TypeError: if the function returns no Problem.
    """
    maker = _maker(name)
    arguments = dict(arguments or {})
    try:
        inspect.signature(maker).bind(**arguments)
    except TypeError as error:
        raise ValueError(f"arguments of {name} must fit {_signature(maker)}: {error}") from error
    try:
        problem = maker(**arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit would end ParaView
        raise RuntimeError(f"{name} {_raised(error)}") from error
    if not isinstance(problem, Problem):
        raise TypeError(f"{name} must return a tlp_core.Problem, got {type(problem).__name__}")
    if checkpoint:
        load_checkpoint(problem, checkpoint)
    return problem


def _maker(name: str) -> Callable[..., Any]:
    if name in READY_PROBLEMS:
        module, _, function = READY_PROBLEMS[name].partition(":")
        ready: Callable[..., Any] = getattr(import_module(f"tlp_core.problems.{module}"), function)
        return ready
    if name.startswith(HUGGING_FACE):
        from tlp_core.problems.transformer import causal_language_model

        return partial(causal_language_model, name.removeprefix(HUGGING_FACE))
    file, function = _split_file(name)
    if not file.is_file():
        known = ", ".join(READY_PROBLEMS)
        raise FileNotFoundError(
            f"a problem must be one of {known}, or a Python file; found no file {str(file)!r}"
        )
    module_object = _import_file(file)
    maker = getattr(module_object, function, None)
    if not callable(maker):
        raise ValueError(f"{file} must define a function {function}, and does not")
    return maker  # type: ignore[no-any-return]


def _split_file(name: str) -> tuple[Path, str]:
    """Split ``FILE.py:FUNCTION``; any other colon, as of a drive letter, belongs to the path."""
    path, colon, function = name.rpartition(":")
    if colon and function.isidentifier() and path.endswith(".py"):
        return Path(path), function
    return Path(name), DEFAULT_FUNCTION


def hash_code(name: str) -> str:
    """Return the SHA-256 of the code behind a problem's name, in hex.

    Of a user's file this is the file and the modules beside it that it has imported, so it is
    complete after the problem was loaded. Of a ready problem it is the suite's version.
    """
    if name in READY_PROBLEMS or name.startswith(HUGGING_FACE):
        return hashlib.sha256(__version__.encode()).hexdigest()
    file = _split_file(name)[0]
    files = [file, *_HELPER_FILES.get(file.resolve(), ())]
    return hashlib.sha256("".join(map(hash_file, files)).encode()).hexdigest()


_HELPER_MODULES: set[str] = set()
"""Names of the modules that problem files have imported from their own folders."""

_HELPER_FILES: dict[Path, list[Path]] = {}
"""Files of those modules, by the problem file that imported them."""


def _import_file(file: Path) -> ModuleType:
    """Execute a user's file as a module of its own name, with its folder importable meanwhile.

    Modules beside it are imported again each time: they may have changed, and a module of another
    folder may have the same name.
    """
    folder = file.resolve().parent
    unique = f"tlp_problem_{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(unique, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"a problem file must be a .py file, got {file}")
    module = importlib.util.module_from_spec(spec)
    for name in _HELPER_MODULES:
        sys.modules.pop(name, None)
    _HELPER_MODULES.clear()
    sys.modules[unique] = module
    before = set(sys.modules)
    with _importable(folder):
        try:
            spec.loader.exec_module(module)
        except SyntaxError as error:
            raise ValueError(f"{file} must parse: line {error.lineno}: {error.msg}") from error
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit would end ParaView
            raise RuntimeError(f"{file} {_raised(error)}") from error
        finally:
            helpers = _modules_beside(folder, set(sys.modules) - before, known=before)
            _HELPER_MODULES.update(helpers)
            _HELPER_FILES[file.resolve()] = sorted(helpers.values())
    return module


def _modules_beside(folder: Path, names: set[str], *, known: set[str]) -> dict[str, Path]:
    """Return the files of modules in a folder, except parts of known or installed packages.

    A virtual environment may lie in the folder, too.
    """
    own = (name for name in names if name.split(".")[0] not in known)
    files = {name: getattr(sys.modules[name], "__file__", None) for name in own}
    paths = {name: Path(file).resolve() for name, file in files.items() if file}
    return {
        name: path
        for name, path in paths.items()
        if folder in path.parents and not {"site-packages", "dist-packages"} & set(path.parts)
    }


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Make the modules of a folder importable, without compiled copies, which may be out of date.

    Python compares a compiled copy with its source by time, to the second.
    """
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = before


def _raised(error: BaseException) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"raised {type(error).__name__}: {error} ({where.filename}, line {where.lineno})"


def _signature(maker: Callable[..., Any]) -> str:
    return f"{getattr(maker, '__name__', 'it')}{inspect.signature(maker)}"
