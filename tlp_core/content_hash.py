"""Hashes of content, by which caches and stores recognise what they belong to.

A file that is written again with the same content keeps its hash; a time stamp would not tell.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from tlp_core.shards import whole


def hash_tensors(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the SHA-256 of names, dtypes, shapes and values of tensors, in hex.

    Sharded tensors are gathered one after the other.
    """
    digest = hashlib.sha256()
    for name, tensor in tensors:
        plain = whole(tensor).detach().cpu().contiguous()
        digest.update(name.encode())
        digest.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hex; of a missing file that of its name."""
    if not path.is_file():
        return hashlib.sha256(str(path).encode()).hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
