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
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from tlp_core.content_hash import hash_file
from tlp_core.problem import Problem
from tlp_core.problems import HUGGING_FACE, READY_PROBLEMS, is_ready
from tlp_core.problems.local_code import fresh_local_imports, local_files
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
    if is_ready(name):
        problem = _make(name, dict(arguments or {}))
    else:
        file, _ = _split_file(name)
        with fresh_local_imports(file):
            problem = replace(_make(name, dict(arguments or {})), file=str(file.resolve()))
    if checkpoint:
        load_checkpoint(problem, checkpoint)
    return problem


def _make(name: str, arguments: dict[str, Any]) -> Problem:
    """Return a problem by its name, with its own weights."""
    maker = _maker(name)
    try:
        inspect.signature(maker).bind(**arguments)
    except TypeError as error:
        raise ValueError(f"arguments of {name} must fit {_signature(maker)}: {error}") from error
    try:
        problem = maker(**arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit would end ParaView
        if is_ready(name) and isinstance(error, ValueError | TypeError | OSError | ImportError):
            raise  # the suite's own sentence
        raise RuntimeError(f"{name} {_raised(error)}") from error
    if not isinstance(problem, Problem):
        raise TypeError(f"{name} must return a tlp_core.Problem, got {type(problem).__name__}")
    return problem


def _maker(name: str) -> Callable[..., Any]:
    if name in READY_PROBLEMS:
        module, _, function = READY_PROBLEMS[name].partition(":")
        ready: Callable[..., Any] = getattr(import_module(f"tlp_core.problems.{module}"), function)
        return ready
    if name.startswith(HUGGING_FACE):
        from tlp_core.problems.language_model import causal_language_model

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

    Of a user's file this is the file and the modules beside it that it imports. Of a ready problem
    it is the suite's version.
    """
    if is_ready(name):
        return hashlib.sha256(__version__.encode()).hexdigest()
    files = local_files(_split_file(name)[0])
    return hashlib.sha256("".join(map(hash_file, files)).encode()).hexdigest()


def _import_file(file: Path) -> ModuleType:
    """Execute a user's file as a module of its own name."""
    unique = f"tlp_problem_{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(unique, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"a problem file must be a .py file, got {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ValueError(f"{file} must parse: line {error.lineno}: {error.msg}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit would end ParaView
        raise RuntimeError(f"{file} {_raised(error)}") from error
    return module


def _raised(error: BaseException) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"raised {type(error).__name__}: {error} ({where.filename}, line {where.lineno})"


def _signature(maker: Callable[..., Any]) -> str:
    """Return the arguments and their defaults, as in ``(n=2, tilt=0.1)``."""
    arguments = inspect.signature(maker).parameters.values()
    return str(inspect.Signature([each.replace(annotation=each.empty) for each in arguments]))
