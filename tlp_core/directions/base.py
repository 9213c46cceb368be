"""Directions in parameter space, however they are made.

A direction is one tensor for each trainable parameter, with a fixed sign and one of four
normalizations.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tlp_core.choices import Normalization
from tlp_core.content_hash import hash_tensors
from tlp_core.directions.files import TensorFile, open_tensors, write_tensors
from tlp_core.directions.flat import (
    dots,
    empty_rows,
    fill,
    largest_entry,
    orthonormalize,
    views,
)
from tlp_core.directions.settings import DirectionSettings
from tlp_core.model_state import (
    number_of_parameters,
    pieces,
    select_parameters,
    squared_norm,
    trainable_parameters,
)
from tlp_core.scratch import forget
from tlp_core.shards import cut, join, shard_of, whole

Vector = dict[str, Tensor]

_LINEAR_OF_GPT2 = "Conv1D"
"""Name of transformers' class of a linear layer whose weight has the shape (in, out)."""


@dataclass(frozen=True)
class Directions:
    """n directions with their quality and provenance.

    Attributes:
        vectors: n directions; each maps the name of a trainable parameter to a tensor of its
            shape, sharded as the parameter is.
        eigenvalues: (n,) float64, λ of each Hessian eigenvector.
        residuals: (n,) float64, ‖Hv - λv‖ of each unit eigenvector, before normalization.
        method: how they were made, such as ``pyhessian``.
        normalization: how they were scaled.
        seed: random seed of the start vectors, or of random directions.
        provenance: further origin and quality, as JSON values: the pattern of the parameters, the
            number of Hessian-vector products, the fraction of the variance that each direction of a
            trajectory explains, the coordinates of the solutions in the span.
    """

    vectors: tuple[Vector, ...]
    eigenvalues: npt.NDArray[np.float64]
    residuals: npt.NDArray[np.float64]
    method: str
    normalization: Normalization
    seed: int
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return n, the number of directions."""
        return len(self.vectors)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters that move."""
        return tuple(self.vectors[0])

    def digest(self) -> str:
        """Return the SHA-256 of all directions, in hex."""
        return hash_tensors(self._once())

    def _once(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the parts of all directions by name; each is in memory while it is used."""
        for vector in self.vectors:
            for name, part in vector.items():
                yield name, part
                forget(shard_of(part))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file, atomically; all processes that hold a sharded model must call this.

        Args:
            path: ``NAME.safetensors``, for which nothing is copied in memory; any other name is
                that of an ``.npz`` file.

        Raises:
            OSError: if the file cannot be written.
        """
        record = {
            "method": self.method,
            "normalization": self.normalization,
            "seed": self.seed,
            "facts": dict(self.provenance),
        }
        tensors = {
            "eigenvalues": torch.from_numpy(self.eigenvalues),
            "residuals": torch.from_numpy(self.residuals),
        }
        for i, vector in enumerate(self.vectors):
            tensors |= {f"direction{i}/{name}": tensor for name, tensor in vector.items()}
        write_tensors(path, json.dumps(record), tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: nn.Module) -> Directions:
        """Read directions of a model from a file; no code in it is run.

        Args:
            path: a file that :meth:`save` wrote.
            model: the network whose parameters the directions belong to.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is not such a file, or its directions belong to another network.
        """
        with open_tensors(path) as file:
            try:
                record = json.loads(file.text)
                provenance = record.pop("facts")
                vectors = _vectors_of(file, model, provenance.get("parameters", "*"))
                return cls(
                    vectors=vectors,
                    eigenvalues=_one_each(file, "eigenvalues", len(vectors)),
                    residuals=_one_each(file, "residuals", len(vectors)),
                    provenance=provenance,
                    **record,
                )
            except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
                reason = f"{error} is missing" if isinstance(error, KeyError) else error
                raise ValueError(
                    f"{path} must hold directions of this network, as tlp directions writes them: "
                    f"{reason}"
                ) from error


def _vectors_of(file: TensorFile, model: nn.Module, pattern: str) -> tuple[Vector, ...]:
    """Return the tensors of a file, checked against the parameters that a pattern selects."""
    with select_parameters(model, None if pattern == "*" else pattern):
        expected = trainable_parameters(model)
    count = len(file.read("eigenvalues"))
    found = {name for name in file.names if name.startswith("direction")}
    wanted = {f"direction{i}/{name}" for i in range(count) for name in expected}
    if not count or found != wanted:
        missing, unknown = sorted(wanted - found), sorted(found - wanted)
        raise ValueError(f"it lacks {missing[:1]} and has {unknown[:1]}, which is unknown")
    return tuple(
        {name: _checked(file, f"direction{i}/{name}", like) for name, like in expected.items()}
        for i in range(count)
    )


def _checked(file: TensorFile, name: str, like: Tensor) -> Tensor:
    """Return a tensor of a file, checked against the parameter that it moves."""
    tensor = file.read(name)
    is_finite = tensor.is_floating_point() and all(p.isfinite().all() for p in pieces(tensor))
    if tensor.shape != like.shape or not is_finite:
        raise ValueError(
            f"{name} must be finite numbers of shape {tuple(like.shape)}, got "
            f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
        )
    return join(cut(tensor, like).to(like.device, like.dtype), like)


def _one_each(file: TensorFile, name: str, count: int) -> npt.NDArray[np.float64]:
    values = file.read(name).numpy()
    if values.shape != (count,) or values.dtype.kind != "f":
        raise ValueError(f"{name} must be {count} numbers, got {values.dtype} of {values.shape}")
    return values.astype(np.float64)


def as_directions(
    rows: Tensor, model: nn.Module, normalization: Normalization
) -> tuple[Vector, ...]:
    """Return unit vectors as directions: sign fixed, split by parameter, normalized.

    The entry of largest magnitude is made positive, so that equal seeds give equal pictures.

    Args:
        rows: (n, P); the directions are views of it, where it has the model's precision.
        model: the network.
        normalization: how the directions are scaled.
    """
    parameters = trainable_parameters(model)
    layouts = _filter_layouts(model)
    vectors = []
    for row in rows:
        if largest_entry(row) < 0:
            row.neg_()
        parts = views(row, list(parameters.values()))
        vector = {
            name: join(part.to(p.device, p.dtype), p)
            for (name, p), part in zip(parameters.items(), parts)
        }
        _normalize(vector, parameters, normalization, layouts)
        vectors.append(vector)
        forget(row)
    return tuple(vectors)


def without_eigenvalues(
    rows: Tensor,
    model: nn.Module,
    settings: DirectionSettings,
    provenance: Mapping[str, Any] = {},
) -> Directions:
    """Return unit vectors (n, P) that are no eigenvectors as directions."""
    undefined = np.full(len(rows), np.nan)
    return Directions(
        vectors=as_directions(rows, model, settings.normalization),
        eigenvalues=undefined,
        residuals=undefined,
        method=settings.method,
        normalization=settings.normalization,
        seed=settings.seed,
        provenance={"parameters": settings.parameters or "*", **provenance},
    )


def subspace_overlap(one: Directions, other: Directions) -> float:
    """Return how much of one span lies in another: the mean squared cosine of their angles.

    Args:
        one: n directions.
        other: n directions of the same parameters.

    Returns:
        ‖Q₁ᵀQ₂‖² / n of orthonormal bases Q, 0 to 1; 1 for equal spans.
    """
    bases = []
    for directions in (one, other):
        tensors = [list(vector.values()) for vector in directions.vectors]
        rows = empty_rows(len(directions), tensors[0])
        for row, vector in zip(rows, tensors):
            fill(row, vector)
        bases.append(orthonormalize(rows))
    cosines = [dots(bases[0], row) for row in bases[1]]
    return float(np.square(cosines).sum() / len(one))


def check_number(n: int, model: nn.Module) -> None:
    """Raise a ValueError if there are more directions than trainable parameters."""
    available = number_of_parameters(model)
    if n > available:
        raise ValueError(f"n must be at most the number of parameters, {available}, got {n}")


def _normalize(
    vector: Vector,
    parameters: dict[str, nn.Parameter],
    normalization: Normalization,
    layouts: Mapping[str, _FilterLayout],
) -> None:
    """Scale a unit vector in place: to ‖θ*‖, per tensor, or per output filter.

    The last is the filter normalization of Li et al. 2018, section 4.
    """
    if normalization == "none":
        return
    length = math.sqrt(sum(map(squared_norm, parameters.values())))
    for name, part in vector.items():
        if normalization == "model":
            part.mul_(length)
            continue
        layout = layouts.get(name)
        shape, axes = part.shape, tuple(range(1, part.ndim)) or None
        if normalization == "layer":
            axes = None
        elif layout is not None:
            shape, axes = torch.Size(layout.shape), layout.axes
        view = part.view(shape)
        scale = _scale(view, parameters[name].reshape(shape), axes)
        # entries of a whole tensor, and of a filter whose inputs come first, lie in all shards
        is_spread = axes is None or layout is not None
        shard_of(view).mul_(whole(scale) if is_spread else shard_of(scale))


class _FilterLayout(NamedTuple):
    """Where the filters of a weight are whose first axis is that of the inputs.

    Attributes:
        shape: shape as which the weight is viewed.
        axes: axes of that shape over which a filter extends.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...]


def _filter_layouts(model: nn.Module) -> dict[str, _FilterLayout]:
    """Return the layouts of the weights whose first axis is that of the inputs, by their names."""
    kinds = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, kinds):
            # (in, out / groups, …): a filter is all inputs of its group to one output
            shape = (module.groups, -1, *module.weight.shape[1:])
            layout = _FilterLayout(shape, (1, *range(3, len(shape))))
        elif type(module).__name__ == _LINEAR_OF_GPT2:
            layout = _FilterLayout(tuple(module.weight.shape), (0,))
        else:
            continue
        found[f"{name}.weight".lstrip(".")] = layout
    return found


def _scale(part: Tensor, parameter: Tensor, axes: tuple[int, ...] | None) -> Tensor:
    """Return ‖θ_l‖ / ‖d_l‖ over some axes, all for None; 0 where the direction has no part."""
    length = torch.linalg.vector_norm(part, dim=axes, keepdim=True)
    target = torch.linalg.vector_norm(parameter.detach(), dim=axes, keepdim=True)
    return torch.where(length > 0, target / length, torch.zeros_like(length))
