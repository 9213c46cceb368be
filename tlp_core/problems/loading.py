"""Ready problems, and problems from a user's file.

A problem is named by a ready name (``pinn-convection``) or by a file and the function in it that
returns a :class:`~tlp_core.problem.Problem` (``my_net.py:make_problem``).
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from tlp_core.problem import Problem

READY_PROBLEMS: dict[str, str] = {
    "two-wells": "analytic:two_wells",
    "quadratic-bowl": "analytic:quadratic_bowl",
    "pinn-convection": "pinn_convection:make_problem",
    "modular-addition": "transformer:modular_addition",
    "character-gpt": "transformer:character_gpt",
    "unet-crf": "unet_crf:make_problem",
    "resnet20": "resnet:make_problem",
}
"""Ready names, and where in this package the function is that makes the problem."""

HUGGING_FACE = "hf:"
"""Before the folder of a causal language model of Hugging Face."""

DEFAULT_FUNCTION = "make_problem"

_STATE_KEYS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep the parameters in a checkpoint."""


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
        arguments: passed to the function by keyword.
        checkpoint: file of a state dict, or of a dict that holds one under ``state_dict``,
            ``model_state_dict`` or ``model``; read by torch without unpickling code, or by
            safetensors.

    Raises:
        FileNotFoundError: if the problem's file or the checkpoint does not exist.
        ValueError: for an unknown name, a file that does not parse or has no such function,
            arguments that it does not take, or a checkpoint that is none or fits another network.
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
    except Exception as error:
        raise RuntimeError(f"{name} {_raised(error)}") from error
    if not isinstance(problem, Problem):
        raise TypeError(f"{name} must return a tlp_core.Problem, got {type(problem).__name__}")
    if checkpoint:
        load_checkpoint(problem, checkpoint)
    return problem


def parse_arguments(text: str) -> dict[str, Any]:
    """Return ``key=value`` pairs, separated by commas, as a dict.

    Values are Python literals; anything else is a string.

    >>> parse_arguments("beta=30, data=my_folder")
    {'beta': 30, 'data': 'my_folder'}
    """
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    for key, equals, _ in pairs:
        if not equals or not key.strip().isidentifier():
            raise ValueError(f"arguments must be like 'beta=30, seed=1', got {text!r}")
    return {key.strip(): _literal(value.strip()) for key, _, value in pairs}


def load_checkpoint(problem: Problem, path: str | os.PathLike[str]) -> None:
    """Set the model's parameters and buffers from a file."""
    state = read_state(path)
    expected = problem.model.state_dict()
    missing, unexpected = expected.keys() - state.keys(), state.keys() - expected.keys()
    shapes = [
        f"{key} has shape {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    wrong = [f"{key} is missing" for key in sorted(missing)]
    wrong += [f"{key} is unknown" for key in sorted(unexpected)] + shapes
    if wrong:
        raise ValueError(
            f"checkpoint {path} must fit the network of {problem.name!r}: {wrong[0]}"
            + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else "")
        )
    problem.model.load_state_dict(state)


def read_state(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Return the state dict in a checkpoint, without running any code that it may hold."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"a checkpoint must be a file, found none at {path}")
    try:
        if Path(path).suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except ModuleNotFoundError:
        raise
    except Exception as error:
        # torch's own words advise to load it unsafely
        raise ValueError(
            f"checkpoint {path} must be readable as plain tensors, as torch.save or safetensors "
            f"write a state dict, and is not ({type(error).__name__})"
        ) from error
    for key in _STATE_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        raise ValueError(
            f"checkpoint {path} must hold a state dict, alone or under one of "
            f"{', '.join(_STATE_KEYS)}"
        )
    return dict(content)


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
    module_object = _imported(file)
    maker = getattr(module_object, function, None)
    if not callable(maker):
        raise ValueError(f"{file} must define a function {function}, and does not")
    return maker  # type: ignore[no-any-return]


def _split_file(name: str) -> tuple[Path, str]:
    """Split ``FILE.py:FUNCTION``; a colon elsewhere, as in a drive letter, is part of the path."""
    path, colon, function = name.rpartition(":")
    if colon and function.isidentifier() and path.endswith(".py"):
        return Path(path), function
    return Path(name), DEFAULT_FUNCTION


def _imported(file: Path) -> ModuleType:
    """Run a user's file as a module of its own name, with its folder importable meanwhile."""
    unique = f"tlp_problem_{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(unique, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"a problem file must be a .py file, got {file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    sys.path.insert(0, str(file.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ValueError(f"{file} must parse: line {error.lineno}: {error.msg}") from error
    except Exception as error:
        raise RuntimeError(f"{file} {_raised(error)}") from error
    finally:
        sys.path.remove(str(file.resolve().parent))
    return module


def _raised(error: Exception) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"raised {type(error).__name__}: {error} ({where.filename}, line {where.lineno})"


def _signature(maker: Callable[..., Any]) -> str:
    return f"{getattr(maker, '__name__', 'it')}{inspect.signature(maker)}"


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
