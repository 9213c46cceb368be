"""The file of a landscape: a Zarr v3 group, written chunk by chunk.

The group holds the array ``loss``, whose chunks are slabs of the grid; its attributes hold the
schema version, the distances and the provenance. A chunk is written under a temporary name and
renamed, and is complete once its file exists, so a killed run loses one chunk at most. Imported
losses may be missing within a chunk; the array ``evaluated`` marks them.

Each chunk has a checksum, which finds flipped bits, and names its place, so that chunk files that
were swapped, or copied from another store, are found. The name is the original file name in the
header of the chunk's gzip stream (RFC 1952, section 2.3.1), which other Zarr readers skip:
``loss.3.17.`` and the attribute ``identity`` of the store, for the chunk (3, 17) of ``loss``.
Stores of earlier versions have zstd chunks without names.
"""

from __future__ import annotations

import glob
import gzip
import hashlib
import io
import json
import math
import os
import re
import shutil
import uuid
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tlp_core.atomic_files import HEX_DIGIT, atomic_write, require_folder, sweep
from tlp_core.untrusted_files import require_plain_files, require_room

SCHEMA = 1

EVALUATION = "evaluation"
"""Key of the engine in the provenance; engines change losses by rounding only."""

AUTOCAST_NOISE = "autocast_noise"
"""Key of the persistence in the provenance below which basins may come from autocast."""

_REASONS = {
    "metrics": " (other weights, batches or arguments)",
    "eigenvalues": " (other weights or batches; where only the last digits differ, as between "
    "machines, make the directions once by tlp directions, and give --directions-file to all)",
}
"""What a difference of a value in the provenance means, for an error message."""

_NOT_COMPARED = {
    EVALUATION,
    AUTOCAST_NOISE,
    "problem_file",
    "hessian_vector_products",
    "hessian_asymmetry",
    "hessian_difference",
    "hessian_step",
    "hessian_step_error",
}
"""Keys of the provenance that may differ: losses do not depend on them but by rounding."""

_SCATTERED_CHUNK = 1024

_MOST_CHUNKS = 10**7
"""Number of chunks above which a store is not one of this suite: 41^5 samples have 68,921."""

MODEL_LOSS = "model_loss"
"""Key of the loss at the model in the provenance, by which another loss is recognised."""

_ROUNDING = 1e-4
"""Relative difference allowed in that loss, because threads and machines differ in rounding."""

BATCH_SIZES = "batch_sizes"
"""Key of the number of items in each batch whose losses are stored."""

_LOSS, _BATCHES = "loss", "batch_losses"

_CODECS = ["bytes", "gzip", "crc32c"]
"""Codecs of chunks that name their place."""

_GZIP_LEVEL = 1
"""Higher levels save 7 % of losses of float32, and take up to 7 times as long."""

_GZIP_HEADER = 10
"""Bytes before the name in a gzip stream."""

_UNNAMED, _NAMED = b"\x1f\x8b\x08\x00", b"\x1f\x8b\x08\x08"
"""First bytes of a gzip stream without and with a name."""

Chunk = tuple[slice, ...]


class LandscapeStore:
    """Losses of a landscape during sampling, in memory or on disk.

    Attributes:
        shape: number of points per axis (n,).
        distance: (n,) float64, half-width of the range of α per axis.
        provenance: the provenance, as JSON values.
        points: (N, n) float64, coordinates of scattered samples; None on a grid.
        other_losses: names of further losses at the same samples.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        distance: npt.NDArray[np.float64],
        provenance: Mapping[str, Any],
        array: Any,
        folder: Path | None,
        chunk_shape: tuple[int, ...],
        points: npt.NDArray[np.float64] | None = None,
    ) -> None:
        """Use :meth:`in_memory`, :meth:`create` or :meth:`open`."""
        self.shape, self.distance, self.provenance = shape, distance, dict(provenance)
        self.points = points
        self.other_losses: tuple[str, ...] = ()
        self._others: list[Any] = []
        self._batches: Any = None
        self._array, self._folder, self._chunk_shape = array, folder, chunk_shape
        self._identity: str | None = None
        self._done: set[tuple[int, ...]] = set()
        self._mask: npt.NDArray[np.bool_] | None = None

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Number of items in each of the B batches whose losses are stored; empty if none are."""
        return tuple(self.provenance.get(BATCH_SIZES, ()))

    @classmethod
    def in_memory(
        cls,
        shape: tuple[int, ...],
        distance: npt.NDArray[np.float64],
        points: npt.NDArray[np.float64] | None = None,
    ) -> LandscapeStore:
        """Return an empty store in memory, for :meth:`begin`."""
        chunks = _chunk_shape(shape, 2, points is not None)
        return cls(shape, distance, {}, np.full(shape, np.nan), None, chunks, points)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        shape: tuple[int, ...],
        distance: npt.NDArray[np.float64],
        provenance: Mapping[str, Any],
        points: npt.NDArray[np.float64] | None = None,
        *,
        slab_axes: int = 2,
        whole: bool = False,
        evaluated: npt.NDArray[np.bool_] | None = None,
        other_losses: Sequence[str] = (),
        losses: Sequence[npt.NDArray[np.float64]] = (),
    ) -> LandscapeStore:
        """Make an empty store at ``path``; it appears there complete with its attributes.

        Args:
            path: a new folder.
            shape: number of points per axis.
            distance: half-width per axis.
            provenance: the provenance.
            points: coordinates of scattered samples.
            slab_axes: number of axes, the last ones, that a chunk spans completely, but never all
                of several: a killed run loses one chunk at most.
            whole: make a single chunk, for losses that are complete.
            evaluated: which samples have a loss, if that differs within a chunk.
            other_losses: names of further losses at the same samples.
            losses: all losses, if they are known, so that stores of other losses have another
                identity. Sampled losses follow from the provenance.

        Raises:
            FileExistsError: if ``path`` exists, also if another process made it meanwhile.
        """
        import zarr
        from zarr.codecs import Crc32cCodec, GzipCodec

        folder, temporary = _new_and_temporary_folder(path)
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            group = zarr.create_group(temporary, zarr_format=3)
            arrays = {"evaluated": evaluated, "points": points}
            checksums = {name: _checksum(a) for name, a in arrays.items() if a is not None}
            content = [shape, distance.tolist(), checksums, [_checksum(a) for a in losses]]
            group.attrs.update(
                {
                    "tlp_schema": SCHEMA,
                    "distance": distance.tolist(),
                    "facts": dict(provenance),
                    "identity": _identity(provenance, content),
                    "checksums": checksums,
                }
            )
            if other_losses:
                group.attrs["other_losses"] = list(other_losses)
            batches = len(provenance.get(BATCH_SIZES, ()))
            chunks = shape if whole else _chunk_shape(shape, slab_axes, points is not None)
            for name in (_LOSS, *_other_arrays(other_losses), *[_BATCHES] * bool(batches)):
                more = (batches,) if name == _BATCHES else ()
                group.create_array(
                    name,
                    shape=more + shape,
                    dtype="float64",
                    chunks=more + chunks,
                    fill_value=np.nan,
                    compressors=(GzipCodec(level=_GZIP_LEVEL), Crc32cCodec()),
                )
            if evaluated is not None:
                group.create_array("evaluated", data=evaluated)
            if points is not None:
                group.create_array("points", data=np.ascontiguousarray(points, dtype=np.float64))
            temporary.rename(folder)
        except OSError as error:
            if folder.exists():
                raise FileExistsError(f"another process has made {folder}") from error
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return cls.open(folder)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> LandscapeStore:
        """Open the store at ``path``.

        Raises:
            FileNotFoundError: if ``path`` does not exist.
            ValueError: if it is not a landscape.
        """
        import zarr

        folder = Path(path)
        if not folder.exists():
            raise FileNotFoundError(f"a landscape must exist to be opened, found none at {folder}")
        if not folder.is_dir():
            raise ValueError(f"a landscape must be a folder, NAME.zarr, and {folder} is a file")
        if not (folder / "zarr.json").is_file():
            raise ValueError(f"a landscape must be a Zarr group, and {folder} has no zarr.json")
        require_plain_files(folder)
        try:
            with warnings.catch_warnings():  # zarr 3.2 and later repair chunks of size 0
                warnings.filterwarnings("error", message=".*chunk shape", category=UserWarning)
                group = zarr.open_group(folder, mode="r+", zarr_format=3)
                schema = group.attrs["tlp_schema"]
                store = cls._from_group(group, folder) if schema == SCHEMA else None
        except (
            zarr.errors.BaseZarrError,
            UserWarning,
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            ArithmeticError,
            RecursionError,
        ) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(
                f"a landscape must be a Zarr group that this suite wrote, and {folder} is not: "
                f"{reason}; delete it if it is damaged"
            ) from error
        if store is None:
            raise ValueError(f"{folder} must have schema {SCHEMA}, got {schema}; update the suite")
        return store

    @classmethod
    def _from_group(cls, group: Any, folder: Path) -> LandscapeStore:
        """Return the store of a Zarr group, whose arrays and attributes are checked."""
        import zarr

        attributes: dict[str, Any] = group.attrs.asdict()
        others = tuple(map(str, attributes.get("other_losses", ())))
        with zarr.config.set({"array.write_empty_chunks": True}):
            # a chunk of NaN must be written: it was evaluated
            array, *further = (group[name] for name in (_LOSS, *_other_arrays(others)))
        _check_array(array, np.float64, folder, "loss")
        for name, other in zip(others, further):
            _check_array(other, np.float64, folder, name)
            if (other.shape, other.chunks) != (array.shape, array.chunks):
                raise ValueError(f"its {name!r} has the shape {other.shape}")
        provenance = dict(attributes["facts"])
        sizes = _checked_sizes(provenance)
        with zarr.config.set({"array.write_empty_chunks": True}):
            batches = group[_BATCHES] if sizes else None
        if batches is not None:
            _check_array(batches, np.float64, folder, _BATCHES)
            wanted = (len(sizes), *array.shape), (len(sizes), *array.chunks)
            if (batches.shape, batches.chunks) != wanted:
                raise ValueError(f"its {_BATCHES!r} has the shape {batches.shape}")
        points = None
        if "points" in group:
            points = _array_of(group, "points", np.float64, (array.shape[0], None), folder)
            if not np.isfinite(points).all():
                raise ValueError("its points are not finite")
        distance = _checked_distance(attributes["distance"], array, points)
        chunks = tuple(array.chunks)
        store = cls(tuple(array.shape), distance, provenance, array, folder, chunks, points)
        store.other_losses, store._others, store._batches = others, further, batches
        arrays = (array, *further, *([] if batches is None else [batches]))
        store._identity = _checked_identity(attributes, arrays)
        if "evaluated" in group:
            store._mask = _array_of(group, "evaluated", np.bool_, store.shape, folder)
        return store

    @classmethod
    def resume(
        cls,
        path: str | os.PathLike[str],
        shape: tuple[int, ...],
        distance: npt.NDArray[np.float64],
        provenance: Mapping[str, Any],
    ) -> LandscapeStore | None:
        """Open the store at ``path`` to resume it; None if there is none.

        Args:
            path: the folder.
            shape: number of points per axis.
            distance: half-width per axis.
            provenance: the provenance.

        Raises:
            ValueError: if the store has another provenance; the first difference is named.
        """
        if not Path(path).exists():
            return None
        sweep(Path(path), "loss/c/**/*.partial")
        store = cls.open(path)
        if store._mask is not None:
            raise ValueError(f"an imported landscape cannot be resumed, and {path} is one")
        grid = {"shape": list(store.shape), "distance": store.distance.tolist()}
        store.check_provenance(
            {"shape": list(shape), "distance": distance.tolist(), **provenance}, **grid
        )
        return store

    def check_provenance(self, provenance: Mapping[str, Any], **more: Any) -> None:
        """Check that the store has this provenance, except for engine and diagnostics.

        Args:
            provenance: the provenance of the landscape to sample.
            more: further provenance of the store.

        Raises:
            ValueError: if it has not; the first difference is named.
        """
        there, here = {**self.provenance, **more}, dict(provenance)
        names = (there.keys() | here.keys()) - _NOT_COMPARED
        for name in sorted(names, key=lambda n: (n.endswith("hash"), n)):
            if not _agree(name, there.get(name), here.get(name)):
                what = f"the store {self._folder}" if self._folder else "the losses in memory"
                raise ValueError(
                    f"{what} must belong to this landscape, but its {name} is {there.get(name)} "
                    f"instead of {here.get(name)}{_REASONS.get(name, '')}; choose another path"
                )

    @classmethod
    def write_all(
        cls,
        path: str | os.PathLike[str],
        loss: npt.NDArray[np.float64],
        evaluated: npt.NDArray[np.bool_],
        distance: npt.NDArray[np.float64],
        provenance: Mapping[str, Any],
        points: npt.NDArray[np.float64] | None = None,
        other_losses: Mapping[str, npt.NDArray[np.float64]] = {},
        batch_losses: Sequence[npt.NDArray[np.float64]] = (),
    ) -> None:
        """Write all evaluated samples; the store appears at ``path`` when it is complete.

        Raises:
            FileExistsError: if ``path`` exists.
            ValueError: if its name does not end in .zarr, or for other than one array of losses for
                each batch.
        """
        require_new_store(path)
        folder, temporary = _new_and_temporary_folder(path)
        try:
            if len(batch_losses) != len(provenance.get(BATCH_SIZES, ())):
                raise ValueError(
                    f"losses must be given of {len(provenance.get(BATCH_SIZES, ()))} batches, got "
                    f"{len(batch_losses)}"
                )
            every = (loss, *other_losses.values(), *batch_losses)
            whole = bool(evaluated.all())
            store = cls.create(
                temporary,
                loss.shape,
                distance,
                provenance,
                points,
                whole=whole,
                evaluated=None if whole else evaluated,
                other_losses=tuple(other_losses),
                losses=every,
            )
            for chunk in store.chunks():
                if evaluated[chunk].any():
                    store.write(
                        chunk, *(np.where(evaluated[chunk], each[chunk], np.nan) for each in every)
                    )
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def begin(
        self, provenance: Mapping[str, Any], slab_axes: int, other_losses: Sequence[str] = ()
    ) -> None:
        """Set the provenance of a new store in memory, its chunks and its further losses."""
        self.provenance = dict(provenance)
        self.other_losses = tuple(other_losses)
        self._others = [np.full(self.shape, np.nan) for _ in other_losses]
        self._batches = np.full((len(self.batch_sizes), *self.shape), np.nan)
        self._chunk_shape = _chunk_shape(self.shape, slab_axes, self.points is not None)

    def chunks(self) -> Iterator[Chunk]:
        """Yield every chunk of the grid as one slice per axis, in C order."""
        lengths = self._chunk_shape
        counts = [range(-(-size // length)) for size, length in zip(self.shape, lengths)]
        for place in product(*counts):
            yield tuple(
                slice(p * step, min((p + 1) * step, size))
                for p, step, size in zip(place, lengths, self.shape)
            )

    def is_done(self, chunk: Chunk) -> bool:
        """Return whether a chunk was written."""
        place = self._place(chunk)
        if self._folder is None:
            return place in self._done
        return self._file(chunk).is_file()

    def read_chunk(self, chunk: Chunk) -> npt.NDArray[np.float64]:
        """Return the losses of one chunk that was written, (L, ...) as :meth:`write` takes them.

        Raises:
            ValueError: if it is damaged, or belongs to another place; its file is named.
        """
        others = zip(_other_arrays(self.other_losses), self._others)
        found = [self._part(_LOSS, self._array, chunk)]
        found += [self._part(name, array, chunk) for name, array in others]
        if self.batch_sizes:
            found += list(self._part(_BATCHES, self._batches, chunk))
        return np.stack(found)

    def _part(self, name: str, array: Any, chunk: Chunk) -> npt.NDArray[np.float64]:
        try:
            self._check_place(name, chunk)
            return np.asarray(array[(..., *chunk)])
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"{self._file(chunk, name)} is damaged: {error}") from error

    def write(
        self,
        chunk: Chunk,
        losses: npt.NDArray[np.float64],
        *further: npt.NDArray[np.float64],
    ) -> None:
        """Store the losses of one chunk; the first ones last, because they tell that it is done.

        Args:
            chunk: one slice per axis.
            losses: the losses of the chunk.
            further: the further losses, and those on each batch if the store has them.
        """
        others, batches = further[: len(self._others)], further[len(self._others) :]
        for name, array, other in zip(_other_arrays(self.other_losses), self._others, others):
            self._write_array(name, array, chunk, other)
        if batches:
            self._write_array(_BATCHES, self._batches, chunk, np.stack(batches))
        self._write_array(_LOSS, self._array, chunk, losses)
        self._done.add(self._place(chunk))

    def _write_array(
        self, name: str, array: Any, chunk: Chunk, losses: npt.NDArray[np.float64]
    ) -> None:
        """Write a chunk of one array; on disk its file names its place, which Zarr cannot do."""
        if self._identity is None:
            array[(..., *chunk)] = losses
            return
        more = losses.shape[: losses.ndim - len(chunk)]
        whole = np.full(more + self._chunk_shape, np.nan)  # at the edges a chunk exceeds the grid
        whole[tuple(map(slice, losses.shape))] = losses
        file = self._file(chunk, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as temporary:
            temporary.write_bytes(_encode(self._name(name, chunk), whole))

    def check_chunks(self) -> None:
        """Check the chunks of an incomplete store, before hours are spent to complete it.

        A complete one is checked when it is read.

        Raises:
            ValueError: if a chunk is damaged.
        """
        if not all(map(self.is_done, self.chunks())):
            evaluated = self.read()[1]
            self.read_others(evaluated)
            self.read_batches(evaluated)

    def read(
        self, *, skip_damaged: bool = False
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Return all losses, NaN where none was written, and where one was; both of the shape.

        Args:
            skip_damaged: treat damaged chunks as missing, with a warning.

        Raises:
            ValueError: if a chunk is damaged, or belongs to another place; its file is named.
        """
        evaluated = np.zeros(self.shape, dtype=np.bool_)
        for chunk in self.chunks():
            evaluated[chunk] = self.is_done(chunk)
        if self._mask is not None:
            evaluated &= self._mask
        try:
            for chunk in self.chunks():
                self._check_place(_LOSS, chunk)
            return np.where(evaluated, self._array[...], np.nan), evaluated
        except (RuntimeError, ValueError):
            return self._read_chunks(evaluated, skip_damaged)

    def read_others(self, evaluated: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[np.float64]]:
        """Return the further losses by name, NaN where there are none.

        Args:
            evaluated: which samples have losses, of the shape.

        Raises:
            ValueError: if a chunk is damaged.
        """
        found = {}
        names = _other_arrays(self.other_losses)
        for name, array_name, array in zip(self.other_losses, names, self._others):
            try:
                for chunk in self.chunks():
                    self._check_place(array_name, chunk)
                found[name] = np.where(evaluated, array[...], np.nan)
            except (RuntimeError, ValueError) as error:
                raise ValueError(f"{self._folder} is damaged in its losses {name!r}") from error
        return found

    def read_batches(self, evaluated: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Return the losses on each batch, (B, …) with the shape, NaN where there are none.

        Args:
            evaluated: which samples have losses, of the shape.

        Raises:
            ValueError: if a chunk is damaged.
        """
        if not self.batch_sizes:
            return np.empty((0, *self.shape))
        try:
            for chunk in self.chunks():
                self._check_place(_BATCHES, chunk)
            return np.where(evaluated, self._batches[...], np.nan)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"{self._folder} is damaged in its losses on batches") from error

    def _read_chunks(
        self, evaluated: npt.NDArray[np.bool_], skip_damaged: bool
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Return the losses of all chunks that can be read."""
        losses, damaged = np.full(self.shape, np.nan), []
        for chunk in self.chunks():
            try:
                self._check_place(_LOSS, chunk)
                losses[chunk] = self._array[chunk]
            except (RuntimeError, ValueError):
                damaged.append(self._file(chunk))
                evaluated[chunk] = False
        message = f"{self._folder} is damaged in {len(damaged)} chunks, first {damaged[0]}"
        if not skip_damaged:
            raise ValueError(
                f"{message}; delete the files of these chunks, and sample the landscape again to "
                "fill them"
            )
        warnings.warn(f"{message}; they count as missing", stacklevel=4)
        return losses, evaluated

    def _check_place(self, name: str, chunk: Chunk) -> None:
        """Check that the file of a chunk was written for its place in this store.

        Raises:
            ValueError: if it was written for another one.
        """
        if self._identity is None:
            return
        wanted = self._name(name, chunk).encode() + b"\0"
        try:
            with open(self._file(chunk, name), "rb") as file:
                head = file.read(_GZIP_HEADER + len(wanted))
        except FileNotFoundError:
            return
        start, found = head[: len(_NAMED)], head[_GZIP_HEADER:]
        if start == _UNNAMED:
            return  # written by Zarr itself, as by an earlier version that resumes the store
        if (start, found) != (_NAMED, wanted):
            raise ValueError(f"{self._file(chunk, name)} belongs to another place or store")

    def _name(self, name: str, chunk: Chunk) -> str:
        """Return what a chunk of an array is called in its file."""
        return ".".join(map(str, (name, *self._place(chunk), self._identity)))

    def _file(self, chunk: Chunk, name: str = _LOSS) -> Path:
        """Return the file of a chunk of a store on disk."""
        assert self._folder is not None
        place = self._place(chunk)
        array, place = (self._batches, (0, *place)) if name == _BATCHES else (self._array, place)
        key: str = array.metadata.encode_chunk_key(place)
        return self._folder / name / key

    def _place(self, chunk: Chunk) -> tuple[int, ...]:
        return tuple(s.start // step for s, step in zip(chunk, self._chunk_shape))


def _other_arrays(names: Sequence[str]) -> list[str]:
    """Return the names of the arrays of further losses, whose own names may hold anything."""
    return [f"other_loss_{number}" for number in range(len(names))]


def _encode(name: str, losses: npt.NDArray[np.float64]) -> bytes:
    """Return the file of a chunk: a gzip stream with a name, without a time, and its CRC-32C."""
    import google_crc32c

    stream = io.BytesIO()
    with gzip.GzipFile(name, "wb", _GZIP_LEVEL, stream, mtime=0) as packed:
        packed.write(losses.astype("<f8", copy=False).data)
    content = stream.getvalue()
    checksum: int = google_crc32c.value(content)
    return content + checksum.to_bytes(4, "little")


def _checksum(array: npt.NDArray[Any]) -> int:
    """Return the CRC-32 of the values of an array."""
    return zlib.crc32(np.ascontiguousarray(array).data)


def _identity(provenance: Mapping[str, Any], content: Sequence[Any]) -> str:
    """Return a hash of what the losses of a store depend on, in hex; equal runs have equal ones."""
    compared = {name: value for name, value in provenance.items() if name not in _NOT_COMPARED}
    text = json.dumps([compared, *content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _checked_identity(attributes: Mapping[str, Any], arrays: Sequence[Any]) -> str | None:
    """Return the identity of a store, None in stores of earlier versions."""
    identity = attributes.get("identity")
    if identity is None:
        return None
    if not re.fullmatch(HEX_DIGIT * 16, identity):
        raise ValueError(f"its identity is {identity}")
    for array in arrays:
        names = [codec.to_dict()["name"] for codec in array.metadata.codecs]
        if names != _CODECS:
            raise ValueError(f"its losses have the codecs {', '.join(names)}")
    return str(identity)


def _array_of(
    group: Any, name: str, dtype: Any, shape: tuple[int | None, ...], folder: Path
) -> npt.NDArray[Any]:
    """Return an array of a group, whose type and shape are checked before it is read."""
    array = group[name]
    _check_array(array, dtype, folder, name)
    is_same = len(array.shape) == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, array.shape)
    )
    if not is_same:
        raise ValueError(f"its {name!r} has the shape {array.shape}")
    values = np.array(array[...])
    checksum = group.attrs.get("checksums", {}).get(name)
    if checksum not in (None, _checksum(values)):
        raise ValueError(f"its {name!r} has other values than when it was made")
    return values


def _check_array(array: Any, dtype: Any, folder: Path, name: str) -> None:
    """Check the type of an array, and that it fits into memory and has a sane number of chunks."""
    require_room(folder, array.shape, f"an array {name!r}")
    if array.dtype != dtype or not array.shape or min(*array.shape, *array.chunks) < 1:
        raise ValueError(f"its {name!r} is {array.dtype} of shape {array.shape}")
    if math.prod(-(-size // step) for size, step in zip(array.shape, array.chunks)) > _MOST_CHUNKS:
        raise ValueError(f"its {name!r} has chunks of the shape {array.chunks}, which are too many")


def _checked_sizes(provenance: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the sizes of the batches whose losses a store has."""
    sizes = provenance.get(BATCH_SIZES, ())
    if not isinstance(sizes, list | tuple) or not all(isinstance(n, int) and n > 0 for n in sizes):
        raise ValueError(f"its batch sizes are {sizes}")
    return tuple(sizes)


def _checked_distance(
    values: Any, array: Any, points: npt.NDArray[np.float64] | None
) -> npt.NDArray[np.float64]:
    """Return the distances of a store, checked against its losses and its points."""
    distance = np.array(values)
    is_real = distance.ndim == 1 and distance.dtype.kind in "fi"
    if not is_real or not (np.isfinite(distance) & (distance > 0)).all():
        raise ValueError(f"its distances are {values}")
    n = array.ndim if points is None else points.shape[1]
    if len(distance) != n or (points is None and min(array.shape) < 2):
        raise ValueError(f"it has {len(distance)} distances for losses of shape {array.shape}")
    return distance.astype(np.float64)


def _agree(name: str, there: Any, here: Any) -> bool:
    if name == MODEL_LOSS and isinstance(there, float) and isinstance(here, float):
        return math.isclose(there, here, rel_tol=_ROUNDING)
    return bool(there == here)


def require_new_store(path: str | os.PathLike[str]) -> None:
    """Check that a store can be at a path, before hours are spent on its samples.

    Raises:
        ValueError: if the store is a new one, and its name does not end in .zarr.
        NotADirectoryError: for a store in a folder that is a file.
    """
    require_folder(path)
    if Path(path).suffix != ".zarr" and not Path(path).exists():
        raise ValueError(
            f"the name of a new store must end in .zarr, or ParaView cannot open it, got {path}"
        )


def _new_and_temporary_folder(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return a new path, and the temporary path beside it that is renamed to it at the end."""
    folder = Path(path)
    require_folder(folder)
    sweep(folder.parent, f".{glob.escape(folder.name)}.{HEX_DIGIT * 32}")
    if folder.exists():
        raise FileExistsError(f"a new landscape needs a free path, got {folder}, which exists")
    return folder, folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")


def _chunk_shape(shape: tuple[int, ...], slab_axes: int, scattered: bool) -> tuple[int, ...]:
    if scattered:
        return (min(shape[0], _SCATTERED_CHUNK),)
    whole = min(slab_axes, max(len(shape) - 1, 1))
    return (1,) * (len(shape) - whole) + shape[len(shape) - whole :]
