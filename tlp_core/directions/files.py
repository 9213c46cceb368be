"""Files of named tensors and a text: ``.npz``, or ``.safetensors`` for large models.

A .safetensors file is written tensor by tensor and read through a memory map, so directions of a
language model take no second copy in memory. Neither format holds code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tlp_core.atomic_files import atomic_write, write_npz
from tlp_core.model_state import pieces
from tlp_core.shards import group_of, is_first_of, whole
from tlp_core.untrusted_files import read_npz

_SAFETENSORS = ".safetensors"

_CODES = {torch.float32: "F32", torch.float64: "F64"}
"""Names of types in the format safetensors."""

_TEXT = "facts"
"""Name of the text in a file."""


@dataclass(frozen=True)
class TensorFile:
    """An open file.

    Attributes:
        text: the text.
        names: names of the tensors.
        read: returns a tensor by its name.
    """

    text: str
    names: frozenset[str]
    read: Callable[[str], Tensor]


def write_tensors(path: str | os.PathLike[str], text: str, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors and a text to a file, atomically: .safetensors by its ending, else .npz.

    An .npz file holds float64. Sharded tensors are gathered one after the other, and the first of
    the processes that hold them writes the file.

    Raises:
        OSError: if the file cannot be written.
    """
    if not is_first_of(group_of(tensors.values())):
        for tensor in tensors.values():
            whole(tensor)
        return
    with atomic_write(path) as temporary:
        if Path(path).suffix == _SAFETENSORS:
            _write_safetensors(temporary, text, tensors)
        else:
            arrays = {name: whole(t).detach().cpu().double().numpy() for name, t in tensors.items()}
            write_npz(temporary, {_TEXT: np.array(text), **arrays})


def _write_safetensors(path: Path, text: str, tensors: Mapping[str, Tensor]) -> None:
    """Write the format of safetensors; its own function holds all tensors as bytes first."""
    header: dict[str, Any] = {"__metadata__": {_TEXT: text}}
    place = 0
    for name, tensor in tensors.items():
        end = place + tensor.numel() * tensor.element_size()
        shape, kind = list(tensor.shape), _CODES[tensor.dtype]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [place, end]}
        place = end
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for tensor in tensors.values():
            for part in pieces(whole(tensor)):
                file.write(part.cpu().numpy().data)


@contextmanager
def open_tensors(path: str | os.PathLike[str]) -> Iterator[TensorFile]:
    """Open a file that :func:`write_tensors` wrote; tensors of ``.safetensors`` are memory-mapped.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not such a file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"directions must be a file, found none at {path}")
    if Path(path).suffix != _SAFETENSORS:
        content = read_npz(path)
        if _TEXT not in content:
            raise ValueError(f"{path} must hold directions, and its {_TEXT!r} is missing")
        names = frozenset(content) - {_TEXT}
        yield TensorFile(str(content[_TEXT]), names, lambda name: torch.from_numpy(content[name]))
        return
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_TEXT, "{}")
            yield TensorFile(text, frozenset(file.keys()), file.get_tensor)
    except SafetensorError as error:
        raise ValueError(f"{path} must be a .safetensors file, and is damaged: {error}") from error
