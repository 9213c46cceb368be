"""A model that several processes hold together, sharded by torch's ``fully_shard`` (FSDP2).

A *group* of processes holds one model: each of them has a *shard* of every parameter, and a forward
pass gathers the parameters of one block at a time. A vector in parameter space is sharded as the
parameters are, so each process moves and adds its own shards, and sums over all entries are sums
over the group. The processes of a group evaluate different batches. All of them must call the
functions below that communicate, in the same order.

Only this module knows torch's DTensor. For a model that is not sharded, every function returns what
it got.

What 7 billion parameters take on eight GPUs in float32, computed, not measured (P = 6.7e9, of which
all move, n = 2, eight batches of eight sequences of 512 tokens, one for each GPU):

- memory of a GPU while sampling: 4P/8 for the model and 4(n + 1.5)P/8 for what moves, 15 GB in all,
  and the block that is gathered, 0.8 GB, twice;
- memory of a GPU for two eigenvectors: 4P/8 and 4(n + 12)P/8, 50 GB in all, and the activations of
  a batch, which ``checkpointing=True`` keeps small;
- main memory: each process loads the whole model first, 27 GB, 215 GB in all;
- a sample: a forward pass of 2P operations a token, 5.5e13 a GPU, and 7/8 of 4P bytes received,
  23 GB; at 4e14 operations and 1e11 bytes a second, 0.14 s and 0.23 s, so a grid of 41 x 41 takes 6
  to 11 minutes;
- a product: two gradients, each three times the work of a sample, so about 2 s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Batch = TypeVar("Batch")
Numbers = npt.NDArray[np.float64]

_GROUP: ContextVar[Any] = ContextVar("group", default=None)
"""The process group over which sums are taken."""


def shard_model(model: nn.Module, mesh: Any) -> None:
    """Shard a model in place over a mesh, on whose kind of device its shards are.

    Elements of module lists, such as the blocks of a transformer, are gathered one at a time, and
    what lies outside of them together.

    Args:
        model: the same on all processes. Those of its parameters that require a gradient now are
            the ones that ever get one.
        mesh: one-dimensional.

    Raises:
        RuntimeError: for a version of torch without ``fully_shard``.
    """
    try:
        from torch.distributed.fsdp import fully_shard
    except ImportError as error:
        raise RuntimeError(
            f"a sharded model needs torch 2.6 or later, got {torch.__version__}"
        ) from error
    blocks = list(dict.fromkeys(_blocks(model)))
    for module in (*blocks, model):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
    # what requires a gradient is fixed when a block is gathered for the first time; the model goes
    # first, because it becomes the root
    for module in (model, *blocks):
        gathered: Any = module
        gathered.unshard()
        gathered.reshard()


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the outermost elements of module lists."""
    for child in module.children():
        is_list = isinstance(child, nn.ModuleList | nn.ModuleDict)
        if isinstance(module, nn.ModuleList) and not is_list:
            yield child
        else:
            yield from _blocks(child)


def is_sharded(model: nn.Module) -> bool:
    """Return whether a model is sharded."""
    return group_of(model.parameters()) is not None


def group_of(tensors: Iterable[Tensor]) -> Any:
    """Return the process group of the first sharded tensor; None if there is none."""
    sharded: Iterator[Any] = filter(_is_sharded, tensors)
    return next((tensor.device_mesh.get_group() for tensor in sharded), None)


def size_of_group(group: Any) -> int:
    """Return the number of processes of a group."""
    import torch.distributed as dist

    return dist.get_world_size(group)


def is_first_of(group: Any) -> bool:
    """Return whether this process is the first of a group; True without a group."""
    import torch.distributed as dist

    return group is None or dist.get_rank(group) == 0


def _is_sharded(tensor: Any) -> bool:
    # by name, because the module of DTensor takes a second to import
    return type(tensor).__name__ == "DTensor"


def shard_of(tensor: Tensor) -> Tensor:
    """Return the entries of a tensor that this process holds, in the same memory, without graph."""
    if not _is_sharded(tensor):
        return tensor
    shard: Tensor = tensor.detach().to_local()  # type: ignore[attr-defined]
    return shard


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor with the shards of all processes; all of a group must call this."""
    if not _is_sharded(tensor):
        return tensor
    gathered: Tensor = tensor.detach().full_tensor()  # type: ignore[attr-defined]
    return gathered


def cut(tensor: Tensor, like: Any) -> Tensor:
    """Return this process's shard of a whole tensor that belongs to a parameter."""
    if not _is_sharded(like):
        return tensor
    start, end = _rows_of(like)
    return tensor[start:end]


def join(shard: Tensor, like: Any) -> Tensor:
    """Return a tensor, sharded as a parameter is, of which this process holds a shard."""
    if not _is_sharded(like):
        return shard
    from torch.distributed.tensor import DTensor

    joined: Tensor = DTensor.from_local(
        shard,
        like.device_mesh,
        like.placements,
        run_check=False,
        shape=like.shape,
        stride=like.stride(),
    )
    return joined


def range_in_whole(parameter: Tensor) -> tuple[int, int]:
    """Return the range of a parameter's entries, end to end, that this process holds."""
    if not _is_sharded(parameter):
        return 0, parameter.numel()
    each = parameter[:1].numel() if parameter.ndim > 1 else 1
    start, end = _rows_of(parameter)
    return start * each, end * each


def _rows_of(like: Any) -> tuple[int, int]:
    """Return the range along the first axis that this process holds of a sharded tensor."""
    (placement,) = like.placements
    if not placement.is_shard(0):
        raise RuntimeError(f"parameters must be sharded along their first axis, got {placement}")
    mesh, size = like.device_mesh, len(like)
    rows = -(-size // mesh.size())
    start = min(size, mesh.get_local_rank() * rows)
    return start, min(size, start + rows)


@contextmanager
def sums_over(model: nn.Module) -> Iterator[None]:
    """Take sums over all processes that hold a model, meanwhile."""
    token = _GROUP.set(group_of(model.parameters()))
    try:
        yield
    finally:
        _GROUP.reset(token)


def total(values: Numbers) -> Numbers:
    """Return the sum of each process's numbers over the group, equal to the bit on all."""
    return values if _GROUP.get() is None else _gathered(values, _GROUP.get()).sum(axis=0)


def largest_magnitude(value: float) -> float:
    """Return the number of largest magnitude of the group, with its sign."""
    if _GROUP.get() is None:
        return value
    return float(max(_gathered(np.array([value]), _GROUP.get()).ravel(), key=abs))


def _gathered(values: Numbers, group: Any) -> Numbers:
    """Return the numbers of all processes, (size of the group, …)."""
    import torch.distributed as dist

    own = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))
    every = [torch.empty_like(own) for _ in range(size_of_group(group))]
    dist.all_gather(every, own, group=group)
    return np.stack([each.numpy() for each in every])


def deal(batches: Iterable[Batch], group: Any) -> Iterator[tuple[Batch, bool]]:
    """Yield this process's batches, and whether each counts.

    Every process gets the same number, because all must call the model as often: in the last round,
    those without a batch repeat one that does not count.
    """
    import torch.distributed as dist

    rank, size = dist.get_rank(group), size_of_group(group)
    round_: list[Batch] = []
    for batch in batches:
        round_.append(batch)
        if len(round_) == size:
            yield round_[rank], True
            round_.clear()
    if round_:
        yield round_[min(rank, len(round_) - 1)], rank < len(round_)


def evaluate_each(
    batches: Iterable[Batch], evaluate: Callable[[Batch], Sequence[float]], group: Any
) -> list[list[float]]:
    """Return the numbers that a function gives for each batch; the group divides the work."""
    found: list[list[float]] = []
    for batch, counts in deal(batches, group):
        own = np.array([*evaluate(batch), float(counts)])
        found += [row[:-1].tolist() for row in _gathered(own, group) if row[-1]]
    return found
