"""Stage 1: directions in parameter space.

Whatever makes them, directions are kept as one tensor per trainable parameter, with a fixed sign
and one of four normalizations.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tlp_core import checks
from tlp_core.atomic_files import draft_of
from tlp_core.model_state import number_of_parameters, trainable_parameters

Normalization = Literal["none", "model", "layer", "filter"]
NORMALIZATIONS: tuple[Normalization, ...] = get_args(Normalization)

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
        seed: of the start vectors.
        facts: what else tells their origin and quality, plain JSON values: the pattern of the
            parameters, the number of Hessian-vector products, the variance that a trajectory's
            directions explain (each a share of the whole), the coordinates of the solutions that
            they go through.
    """

    vectors: tuple[Vector, ...]
    eigenvalues: npt.NDArray[np.float64]
    residuals: npt.NDArray[np.float64]
    method: str
    normalization: Normalization
    seed: int
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return n, the number of directions."""
        return len(self.vectors)

    def digest(self) -> str:
        """Return a hash of all directions, hex."""
        from tlp_core.problem import tensor_bytes

        digest = hashlib.sha256()
        for vector in self.vectors:
            for name, tensor in vector.items():
                digest.update(name.encode() + tensor_bytes(tensor))
        return digest.hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an .npz file, under a temporary name first."""
        facts = {
            "method": self.method,
            "normalization": self.normalization,
            "seed": self.seed,
            "facts": dict(self.facts),
        }
        arrays = {
            f"direction{i}/{name}": tensor.detach().cpu().double().numpy()
            for i, vector in enumerate(self.vectors)
            for name, tensor in vector.items()
        }
        with draft_of(path) as draft, open(draft, "wb") as file:
            np.savez(
                file,
                facts=np.array(json.dumps(facts)),
                eigenvalues=self.eigenvalues,
                residuals=self.residuals,
                **arrays,
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: nn.Module) -> Directions:
        """Read directions of a model from an .npz file; nothing in it is run.

        Raises:
            ValueError: if it is no such file, or its directions are of another network.
        """
        parameters = dict(model.named_parameters())
        try:
            with np.load(path, allow_pickle=False) as file:
                content = {name: file[name] for name in file.files}
            facts = json.loads(str(content["facts"]))
            vectors: list[Vector] = [{} for _ in content["eigenvalues"]]
            for key, array in content.items():
                number, _, name = key.removeprefix("direction").partition("/")
                if name:
                    like = parameters[name]
                    part = torch.from_numpy(array).to(like.device, like.dtype)
                    vectors[int(number)][name] = part.reshape(like.shape)
        except FileNotFoundError:
            raise
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{path} must hold directions of this network, as tlp directions writes them: "
                f"{type(error).__name__} {error}"
            ) from error
        return cls(
            vectors=tuple(vectors),
            eigenvalues=content["eigenvalues"],
            residuals=content["residuals"],
            **facts,
        )


def finished(
    flat: npt.NDArray[np.float64], model: nn.Module, normalization: Normalization
) -> tuple[Vector, ...]:
    """Return unit vectors (n, P) as directions: sign fixed, cut up by parameter, normalized.

    The entry of largest magnitude is made positive, so that equal seeds give equal pictures.
    """
    parameters = trainable_parameters(model)
    largest = np.abs(flat).argmax(axis=1)
    signs = np.where(flat[np.arange(len(flat)), largest] < 0, -1.0, 1.0)
    return tuple(
        _normalized(_cut(row, parameters), parameters, normalization)
        for row in flat * signs[:, None]
    )


@contextmanager
def selected(model: nn.Module, pattern: str | None) -> Iterator[None]:
    """Let only the parameters whose names fit a pattern be trainable meanwhile.

    Args:
        model: the network.
        pattern: of names, such as ``layers.3.*``, or several with commas between; None for all.

    Raises:
        ValueError: if no trainable parameter fits.
    """
    parameters = trainable_parameters(model)
    patterns = [part.strip() for part in (pattern or "*").split(",")]
    others = {
        name: parameter
        for name, parameter in parameters.items()
        if not any(fnmatchcase(name, wanted) for wanted in patterns)
    }
    if len(others) == len(parameters):
        raise ValueError(
            f"parameters must fit some of {', '.join(list(parameters)[:4])}, …, "
            f"got the pattern {pattern!r}"
        )
    for parameter in others.values():
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others.values():
            parameter.requires_grad_(True)


def number_within(n: object, model: nn.Module) -> int:
    """Return the number of directions, 1 to the number of trainable parameters."""
    number = checks.integer(n, name="n", minimum=1)
    available = number_of_parameters(model)
    if number > available:
        raise ValueError(f"n must be at most the number of parameters, {available}, got {number}")
    return number


def flattened(tensors: Sequence[Tensor]) -> npt.NDArray[np.float64]:
    """Return tensors end to end, (P,) float64."""
    return np.concatenate([t.detach().double().cpu().numpy().ravel() for t in tensors])


def _cut(row: npt.NDArray[np.float64], parameters: dict[str, nn.Parameter]) -> Vector:
    ends = np.cumsum([p.numel() for p in parameters.values()])
    return {
        name: torch.from_numpy(part.reshape(tuple(p.shape))).to(p.device, p.dtype)
        for (name, p), part in zip(parameters.items(), np.split(row, ends[:-1]))
    }


def _normalized(
    vector: Vector, parameters: dict[str, nn.Parameter], normalization: Normalization
) -> Vector:
    """Scale a unit vector: to ‖θ*‖, per tensor, or per output filter (Li et al. 2018, sect. 4)."""
    if normalization == "none":
        return vector
    if normalization == "model":
        norm = torch.cat([p.detach().ravel() for p in parameters.values()]).norm()
        return {name: part * norm for name, part in vector.items()}
    per_filter = normalization == "filter"
    return {
        name: part * _scale(part, parameters[name].detach(), per_filter)
        for name, part in vector.items()
    }


def _scale(part: Tensor, parameter: Tensor, per_filter: bool) -> Tensor:
    """Return ‖θ_l‖ / ‖d_l‖, one for each filter if asked for; 0 where the direction has no part."""
    axes = tuple(range(1, part.ndim)) if per_filter and part.ndim > 1 else None
    length = torch.linalg.vector_norm(part, dim=axes, keepdim=True)
    target = torch.linalg.vector_norm(parameter, dim=axes, keepdim=True)
    return torch.where(length > 0, target / length, torch.zeros_like(length))
