"""Weights of a model from a checkpoint file, read without running code."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from tlp_core.content_hash import hash_file
from tlp_core.model_state import HALF_PRECISIONS
from tlp_core.problem import Problem, State
from tlp_core.problems.weight_files import model_folder, weight_files
from tlp_core.shards import cut, is_sharded, shard_of

_STATE_KEYS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts store the state dict in a checkpoint."""

_PRECISIONS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""Precisions of floating-point numbers by their names in safetensors."""

_WRAPPERS = ("_orig_mod.", "module.")
"""Prefixes of parameters of a network that was wrapped by torch.compile or DataParallel."""


def load_checkpoint(problem: Problem, path: str | os.PathLike[str]) -> None:
    """Set the parameters and buffers of a problem's model from a file.

    Args:
        problem: its model is changed in place.
        path: a checkpoint that the problem, or else :func:`read_state`, reads.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no checkpoint, or belongs to another network.
    """
    expected = problem.model.state_dict()
    state = _without_prefix(dict(read_state_of(problem, path)), expected)
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
    warn_of_half_precision(
        state[key].dtype for key in expected if expected[key].dtype not in HALF_PRECISIONS
    )
    if not is_sharded(problem.model):
        problem.model.load_state_dict(state)
        return
    with torch.no_grad():
        for name, tensor in expected.items():
            shard_of(tensor).copy_(cut(state[name], tensor))


def hash_checkpoint(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a checkpoint's content, in hex; of a folder that of its weights.

    Raises:
        ValueError: if an index of shards is damaged.
    """
    place = model_folder(Path(path))
    files = weight_files(place) if place.is_dir() else []
    if not files:
        return hash_file(place)
    return hashlib.sha256("".join(map(hash_file, files)).encode()).hexdigest()


def read_state_of(problem: Problem, path: str | os.PathLike[str]) -> State:
    """Return the state dict in a checkpoint of a problem's network.

    A tensor that has several names in the network, such as tied weights, and one of them in the
    checkpoint, has them all here.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no checkpoint.
    """
    state = dict((problem.read_state or read_state)(path))
    expected = problem.model.state_dict()
    tied: dict[tuple[int, torch.Size], list[str]] = {}
    for name, tensor in expected.items():
        held = shard_of(tensor)
        if held.numel():  # others have no address
            tied.setdefault((held.data_ptr(), tensor.shape), []).append(name)
    for names in tied.values():
        known = [name for name in names if name in state]
        state.update({name: state[known[0]] for name in names if known and name not in state})
    return state


def stored_precisions(folder: Path) -> set[torch.dtype]:
    """Return the precisions of the floating-point numbers in the files of a folder's weights.

    Raises:
        FileNotFoundError: if a file that an index of shards names is missing.
        ValueError: if a file is damaged.
    """
    found: set[torch.dtype] = set()
    for file in weight_files(folder):
        if not file.is_file():
            raise FileNotFoundError(f"{file} must exist, because the index of its folder names it")
        try:
            if file.suffix == ".safetensors":
                from safetensors import safe_open

                with safe_open(file, framework="pt") as opened:
                    kinds = {opened.get_slice(name).get_dtype() for name in opened.keys()}  # noqa: SIM118
                found |= {_PRECISIONS[kind] for kind in kinds if kind in _PRECISIONS}
            else:
                content = torch.load(file, map_location="meta", weights_only=True)
                found |= {tensor.dtype for tensor in content.values()}
        except ModuleNotFoundError:
            raise
        except Exception as error:
            # the readers raise many kinds of errors for damaged files
            raise ValueError(
                f"{file} must hold weights as plain tensors, and cannot be read "
                f"({type(error).__name__})"
            ) from error
    return found & set(_PRECISIONS.values())


def warn_of_half_precision(precisions: Iterable[torch.dtype]) -> None:
    """Warn if some of the precisions of weights in files are converted, because they are half."""
    half = set(precisions) & set(HALF_PRECISIONS)
    if half:
        names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in half))
        warnings.warn(f"parameters were converted from {names} to float32", stacklevel=3)


def _without_prefix(
    state: dict[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return a state without the prefix of a wrapper, unless the model has it, too."""
    for prefix in _WRAPPERS:
        is_wrapped = bool(state) and all(key.startswith(prefix) for key in state)
        if is_wrapped and not any(key.startswith(prefix) for key in expected):
            return {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def read_state(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Return the state dict in a checkpoint, without running any code that it may hold.

    Args:
        path: file of a state dict, or of a dict with one under ``state_dict``,
            ``model_state_dict`` or ``model``, written by ``torch.save``; or a ``.safetensors``
            file; or a folder of these in shards, as Hugging Face writes them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no checkpoint of plain tensors.
    """
    if Path(path).is_dir():
        shards = weight_files(Path(path))
        if not shards:
            raise FileNotFoundError(f"a checkpoint must hold weights, found none in {path}")
        return {name: value for file in shards for name, value in read_state(file).items()}
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
        # torch's own message advises to load the file unsafely
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
