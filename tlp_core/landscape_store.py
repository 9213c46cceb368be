"""The file of a landscape: a Zarr v3 group, written chunk by chunk.

The group holds one array, ``loss``, whose chunks are slabs of the grid; its attributes hold the
schema version, the distances, and the facts that made it. A chunk is written under a temporary
name and renamed, and is done once its file exists, so a killed run loses one chunk at most.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SCHEMA = 1
_SLAB_AXES = 2
"""Axes that a chunk spans whole: 41² = 1,681 samples take seconds, which a killed run may lose."""

Chunk = tuple[slice, ...]


class LandscapeStore:
    """Losses of a landscape as they come in, in memory or on disk.

    Attributes:
        shape: number of points per axis (n,).
        distance: (n,) float64, half-width of the range of α per axis.
        facts: what made the landscape, plain JSON values.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        distance: npt.NDArray[np.float64],
        facts: Mapping[str, Any],
        array: Any,
        folder: Path | None,
    ) -> None:
        """Use :meth:`in_memory`, :meth:`create` or :meth:`open`."""
        self.shape, self.distance, self.facts = shape, distance, dict(facts)
        self._array, self._folder = array, folder
        self._done: set[tuple[int, ...]] = set()

    @classmethod
    def in_memory(
        cls, shape: tuple[int, ...], distance: npt.NDArray[np.float64], facts: Mapping[str, Any]
    ) -> LandscapeStore:
        """Return an empty store that leaves nothing behind."""
        return cls(shape, distance, facts, np.full(shape, np.nan), None)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        shape: tuple[int, ...],
        distance: npt.NDArray[np.float64],
        facts: Mapping[str, Any],
    ) -> LandscapeStore:
        """Make an empty store at ``path``; it appears there complete with its attributes.

        Raises:
            FileExistsError: if there is something at ``path``.
        """
        import zarr

        folder, draft = _new_folder_and_draft(path)
        folder.parent.mkdir(parents=True, exist_ok=True)
        group = zarr.create_group(draft, zarr_format=3)
        group.attrs.update(
            {"tlp_schema": SCHEMA, "distance": distance.tolist(), "facts": dict(facts)}
        )
        group.create_array(
            "loss",
            shape=shape,
            dtype="float64",
            chunks=_chunk_shape(shape),
            fill_value=np.nan,
        )
        draft.rename(folder)
        return cls.open(folder)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> LandscapeStore:
        """Open the store at ``path``.

        Raises:
            FileNotFoundError: if there is nothing at ``path``.
            ValueError: if what is there is no landscape.
        """
        import zarr

        folder = Path(path)
        if not folder.exists():
            raise FileNotFoundError(f"a landscape must exist to be opened, found none at {folder}")
        try:
            group = zarr.open_group(folder, mode="r+", zarr_format=3)
            with zarr.config.set({"array.write_empty_chunks": True}):
                array: Any = group["loss"]  # a chunk of NaN is written too: it was evaluated
            attributes: dict[str, Any] = group.attrs.asdict()
            distance = np.array(attributes["distance"], dtype=np.float64)
            schema = attributes["tlp_schema"]
        except (zarr.errors.GroupNotFoundError, KeyError) as error:
            raise ValueError(
                f"a landscape must be a Zarr group that this suite wrote, {folder} is not: {error}"
            ) from error
        if schema != SCHEMA:
            raise ValueError(f"{folder} must have schema {SCHEMA}, got {schema}; update the suite")
        return cls(tuple(array.shape), distance, attributes["facts"], array, folder)

    @classmethod
    def create_or_resume(
        cls,
        path: str | os.PathLike[str],
        shape: tuple[int, ...],
        distance: npt.NDArray[np.float64],
        facts: Mapping[str, Any],
    ) -> LandscapeStore:
        """Open the store at ``path`` to go on with it, or make it.

        Raises:
            ValueError: if the store there belongs to other facts; the first difference is named.
        """
        if not Path(path).exists():
            return cls.create(path, shape, distance, facts)
        store = cls.open(path)
        there = {"shape": list(store.shape), "distance": store.distance.tolist(), **store.facts}
        here = {"shape": list(shape), "distance": distance.tolist(), **facts}
        for name in sorted(there.keys() | here.keys(), key=lambda n: (n.endswith("hash"), n)):
            if there.get(name) != here.get(name):
                raise ValueError(
                    f"the store {path} must belong to this landscape, but its {name} is "
                    f"{there.get(name)} instead of {here.get(name)}; choose another path"
                )
        return store

    @classmethod
    def write_all(
        cls,
        path: str | os.PathLike[str],
        loss: npt.NDArray[np.float64],
        evaluated: npt.NDArray[np.bool_],
        distance: npt.NDArray[np.float64],
        facts: Mapping[str, Any],
    ) -> None:
        """Write all chunks that were evaluated whole; the store appears at ``path`` when done."""
        folder, draft = _new_folder_and_draft(path)
        try:
            store = cls.create(draft, loss.shape, distance, facts)
            for chunk in store.chunks():
                if evaluated[chunk].all():
                    store.write(chunk, loss[chunk])
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def chunks(self) -> Iterator[Chunk]:
        """Yield every chunk of the grid as one slice per axis, in C order."""
        lengths = _chunk_shape(self.shape)
        counts = [range(-(-size // length)) for size, length in zip(self.shape, lengths)]
        for place in product(*counts):
            yield tuple(slice(p * step, (p + 1) * step) for p, step in zip(place, lengths))

    def is_done(self, chunk: Chunk) -> bool:
        """Return whether a chunk was written."""
        place = self._place(chunk)
        if self._folder is None:
            return place in self._done
        key: str = self._array.metadata.encode_chunk_key(place)
        return (self._folder / "loss" / key).exists()

    def write(self, chunk: Chunk, losses: npt.NDArray[np.float64]) -> None:
        """Keep the losses of one chunk."""
        self._array[chunk] = losses
        self._done.add(self._place(chunk))

    def read(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Return all losses, NaN where none was written, and where one was; both of the shape."""
        evaluated = np.zeros(self.shape, dtype=np.bool_)
        for chunk in self.chunks():
            evaluated[chunk] = self.is_done(chunk)
        return np.array(self._array[...]), evaluated

    def _place(self, chunk: Chunk) -> tuple[int, ...]:
        return tuple(s.start // step for s, step in zip(chunk, _chunk_shape(self.shape)))


def _new_folder_and_draft(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return a free path, and the temporary name beside it that is renamed to it when done."""
    folder = Path(path)
    if folder.exists():
        raise FileExistsError(f"a new landscape needs a free path, got {folder}, which exists")
    return folder, folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")


def _chunk_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    whole = min(_SLAB_AXES, max(len(shape) - 1, 1))
    return (1,) * (len(shape) - whole) + shape[len(shape) - whole :]
