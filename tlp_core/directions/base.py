"""Directions in parameter space, however they are made.

A direction is one tensor for each trainable parameter, with a fixed sign and one of four
normalizations.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tlp_core.atomic_files import atomic_write, write_npz
from tlp_core.choices import Normalization
from tlp_core.content_hash import hash_tensors
from tlp_core.directions.settings import DirectionSettings
from tlp_core.model_state import (
    as_float64,
    number_of_parameters,
    select_parameters,
    trainable_parameters,
)
from tlp_core.untrusted_files import read_npz

Vector = dict[str, Tensor]


@dataclass(frozen=True)
class Directions:
    """n directions with their quality and provenance.

    Attributes:
        vectors: n directions; each maps the name of a trainable parameter to a tensor of its
            shape.
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
        return hash_tensors(part for vector in self.vectors for part in vector.items())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an .npz file, atomically.

        Raises:
            OSError: if the file cannot be written.
        """
        record = {
            "method": self.method,
            "normalization": self.normalization,
            "seed": self.seed,
            "facts": dict(self.provenance),
        }
        arrays = {
            f"direction{i}/{name}": tensor.detach().cpu().double().numpy()
            for i, vector in enumerate(self.vectors)
            for name, tensor in vector.items()
        }
        with atomic_write(path) as temporary:
            write_npz(
                temporary,
                {
                    "facts": np.array(json.dumps(record)),
                    "eigenvalues": self.eigenvalues,
                    "residuals": self.residuals,
                    **arrays,
                },
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: nn.Module) -> Directions:
        """Read directions of a model from an .npz file; no code in it is run.

        Args:
            path: a file that :meth:`save` wrote.
            model: the network whose parameters the directions belong to.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is not such a file, or its directions belong to another network.
        """
        content = read_npz(path)
        try:
            record = json.loads(str(content["facts"]))
            provenance = record.pop("facts")
            vectors = _vectors_of(content, model, provenance.get("parameters", "*"))
            return cls(
                vectors=vectors,
                eigenvalues=_one_each(content, "eigenvalues", len(vectors)),
                residuals=_one_each(content, "residuals", len(vectors)),
                provenance=provenance,
                **record,
            )
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(
                f"{path} must hold directions of this network, as tlp directions writes them: "
                f"{reason}"
            ) from error


def _vectors_of(
    content: Mapping[str, npt.NDArray[Any]], model: nn.Module, pattern: str
) -> tuple[Vector, ...]:
    """Return the tensors of a file, checked against the parameters that a pattern selects."""
    with select_parameters(model, None if pattern == "*" else pattern):
        expected = trainable_parameters(model)
    vectors: list[Vector] = [{} for _ in content["eigenvalues"]]
    found = [key for key in content if key.startswith("direction")]
    wanted = [f"direction{i}/{name}" for i in range(len(vectors)) for name in expected]
    if not vectors or set(found) != set(wanted):
        missing, unknown = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
        raise ValueError(f"it lacks {missing[:1]} and has {unknown[:1]}, which is unknown")
    for i, vector in enumerate(vectors):
        for name, like in expected.items():
            array = content[f"direction{i}/{name}"]
            if array.shape != like.shape or array.dtype.kind != "f" or not np.isfinite(array).all():
                raise ValueError(
                    f"direction{i}/{name} must be finite numbers of shape {tuple(like.shape)}, got "
                    f"{array.dtype} of shape {array.shape}"
                )
            vector[name] = torch.from_numpy(array).to(like.device, like.dtype)
    return tuple(vectors)


def _one_each(
    content: Mapping[str, npt.NDArray[Any]], name: str, count: int
) -> npt.NDArray[np.float64]:
    values = content[name]
    if values.shape != (count,) or values.dtype.kind != "f":
        raise ValueError(f"{name} must be {count} numbers, got {values.dtype} of {values.shape}")
    return values.astype(np.float64)


def split_and_normalize(
    flat: npt.NDArray[np.float64], model: nn.Module, normalization: Normalization
) -> tuple[Vector, ...]:
    """Return unit vectors (n, P) as directions: sign fixed, split by parameter, normalized.

    The entry of largest magnitude is made positive, so that equal seeds give equal pictures.
    """
    parameters = trainable_parameters(model)
    largest = np.abs(flat).argmax(axis=1)
    signs = np.where(flat[np.arange(len(flat)), largest] < 0, -1.0, 1.0)
    transposed = _transposed_convolutions(model)
    return tuple(
        _normalize(_split(row, parameters), parameters, normalization, transposed)
        for row in flat * signs[:, None]
    )


FLAT = 1e-10
"""Spans are cut where a singular value, or a remainder, falls below this fraction."""


def without_eigenvalues(
    flat: npt.NDArray[np.float64],
    model: nn.Module,
    settings: DirectionSettings,
    provenance: Mapping[str, Any] = {},
) -> Directions:
    """Return unit vectors (n, P) that are no eigenvectors as directions."""
    undefined = np.full(len(flat), np.nan)
    return Directions(
        vectors=split_and_normalize(flat, model, settings.normalization),
        eigenvalues=undefined,
        residuals=undefined,
        method=settings.method,
        normalization=settings.normalization,
        seed=settings.seed,
        provenance={"parameters": settings.parameters or "*", **provenance},
    )


def orthonormal(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return an orthonormal basis of rows (k, P), in their order; dependent rows are omitted."""
    basis = np.empty((0, rows.shape[1]))
    for row in rows:
        rest = row.copy()
        for _ in range(2):  # the second pass removes the rounding of the first
            rest = rest - (basis @ rest) @ basis
        length = np.linalg.norm(rest)
        if length > FLAT * np.linalg.norm(row):
            basis = np.vstack([basis, rest / length])
    return basis


def check_number(n: int, model: nn.Module) -> None:
    """Raise a ValueError if there are more directions than trainable parameters."""
    available = number_of_parameters(model)
    if n > available:
        raise ValueError(f"n must be at most the number of parameters, {available}, got {n}")


def flatten(tensors: Sequence[Tensor]) -> npt.NDArray[np.float64]:
    """Return the entries of tensors end to end, (P,) float64."""
    return np.concatenate([as_float64(t).cpu().numpy().ravel() for t in tensors])


def _split(row: npt.NDArray[np.float64], parameters: dict[str, nn.Parameter]) -> Vector:
    ends = np.cumsum([p.numel() for p in parameters.values()])
    return {
        name: torch.from_numpy(part.reshape(tuple(p.shape))).to(p.device, p.dtype)
        for (name, p), part in zip(parameters.items(), np.split(row, ends[:-1]))
    }


def _normalize(
    vector: Vector,
    parameters: dict[str, nn.Parameter],
    normalization: Normalization,
    transposed: Mapping[str, int],
) -> Vector:
    """Scale a unit vector: to ‖θ*‖, per tensor, or per output filter (Li et al. 2018, sect. 4)."""
    if normalization == "none":
        return vector
    if normalization == "model":
        norm = torch.cat([p.detach().ravel() for p in parameters.values()]).norm()
        return {name: part * norm for name, part in vector.items()}
    if normalization == "layer":
        return {name: part * _scale(part, parameters[name], None) for name, part in vector.items()}
    scaled = {}
    for name, part in vector.items():
        groups = transposed.get(name)
        if groups:  # (in, out / groups, …): a filter is all inputs of its group to one output
            shape = (groups, -1, *part.shape[1:])
            axes: tuple[int, ...] | None = (1, *range(3, part.ndim + 1))
            factor = _scale(part.reshape(shape), parameters[name].reshape(shape), axes)
            scaled[name] = (part.reshape(shape) * factor).reshape(part.shape)
        else:
            axes = tuple(range(1, part.ndim)) or None
            scaled[name] = part * _scale(part, parameters[name], axes)
    return scaled


def _transposed_convolutions(model: nn.Module) -> dict[str, int]:
    """Return the names of the weights of transposed convolutions, with their number of groups."""
    kinds = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    return {
        f"{name}.weight".lstrip("."): module.groups
        for name, module in model.named_modules()
        if isinstance(module, kinds)
    }


def _scale(part: Tensor, parameter: Tensor, axes: tuple[int, ...] | None) -> Tensor:
    """Return ‖θ_l‖ / ‖d_l‖ over some axes, all for None; 0 where the direction has no part."""
    length = torch.linalg.vector_norm(part, dim=axes, keepdim=True)
    target = torch.linalg.vector_norm(parameter.detach(), dim=axes, keepdim=True)
    return torch.where(length > 0, target / length, torch.zeros_like(length))
