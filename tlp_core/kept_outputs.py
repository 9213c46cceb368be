"""Outputs of modules that do not depend on the parameters that move, computed once and kept.

Where only later blocks of a network move, the blocks before them give the same output for a batch
at every sample. Which modules these are is found by one evaluation that follows, operator by
operator, what depends on a moving parameter. Their outputs are kept for every batch, as far as the
other modules use them, and the modules are not evaluated again. The loss stays the same to the bit,
which is checked.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_iter, tree_map_only

from tlp_core.operator_mode import OperatorMode
from tlp_core.problem import LossError, Problem, batch_loss, mean_losses
from tlp_core.shards import is_sharded

_SMALL_MODEL = 10**6
"""Number of parameters below which an evaluation is too short for kept outputs to matter."""

KEPT_BYTES = 2.0**30
"""Bytes of kept outputs in memory, by default."""

_LOG = logging.getLogger(__name__)


@contextmanager
def kept_outputs(
    problem: Problem, moving: Collection[Tensor], memory_limit: float
) -> Iterator[Problem]:
    """Yield a problem with the same losses, in which nothing that stays is computed twice.

    Modules of the model are replaced meanwhile. A small model, one of which every parameter moves,
    and a sharded one are yielded as they are. The losses of the yielded problem must be evaluated
    in one thread.

    Args:
        problem: model, loss and batches.
        moving: the parameters that change; all others stay as they are.
        memory_limit: bytes that kept outputs may use in memory; above it they are kept in a
            temporary file.
    """
    parameters = list(problem.model.parameters())
    size = sum(parameter.numel() for parameter in parameters)
    is_whole = set(map(id, parameters)) <= set(map(id, moving))
    if size < _SMALL_MODEL or is_whole or is_sharded(problem.model):
        yield problem
        return
    with ExitStack() as stack:
        kept = None
        with torch.no_grad():
            modules = _constant_modules(problem, moving)
            if modules:
                kept = _Kept(modules, memory_limit, stack)
                kept.record(problem)
                kept = kept if kept.is_right(problem, moving) else None
        if kept is None:
            yield problem
            return
        _LOG.info("%s", kept)
        with kept.replaced():
            yield kept.of(problem)


class _Dependence(OperatorMode):
    """What depends on some tensors, followed operator by operator.

    Attributes:
        used: the storages that operators have read.
    """

    def __init__(self, roots: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self._dependent = {_storage(tensor) for tensor in roots}
        self.used: set[int] = set()

    def includes(self, value: Any) -> bool:
        """Return whether a tensor of a value depends on the roots."""
        return not self._dependent.isdisjoint(_storages(value))

    def __torch_dispatch__(
        self, function: Any, _types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        read = _storages((args, kwargs))
        result = function(*args, **(kwargs or {}))
        self.used |= read
        written = _storages(result)
        if not self._dependent.isdisjoint(read):
            self._dependent |= written | (read if function._schema.is_mutable else set())
        else:
            self._dependent -= written - read  # new tensors, at the place of freed ones
        return result


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _storages(value: Any) -> set[int]:
    return {_storage(leaf) for leaf in tree_iter(value) if isinstance(leaf, Tensor)}


def _constant_modules(problem: Problem, moving: Collection[Tensor]) -> list[nn.Module]:
    """Return the modules whose output does not depend on the moving parameters.

    Modules within one of them are left out, and so are modules with hooks, which may do anything.
    """
    following = _Dependence(moving)
    callers: dict[nn.Module, set[nn.Module | None]] = {}
    dependent, running = set[nn.Module](), list[nn.Module]()

    def enter(module: nn.Module, _inputs: Any) -> None:
        callers.setdefault(module, set()).add(running[-1] if running else None)
        running.append(module)

    def leave(module: nn.Module, _inputs: Any, output: Any) -> None:
        running.pop()
        if not _holds_tensors_only(output) or following.includes(output):
            dependent.add(module)

    hooked = {
        module for module in problem.model.modules() if any(map(_has_hooks, module.modules()))
    }
    before = _random_state(problem.model)
    with ExitStack() as stack:
        for module in problem.model.modules():
            stack.enter_context(module.register_forward_pre_hook(enter))
            stack.enter_context(module.register_forward_hook(leave))
        stack.enter_context(following)
        try:
            batch_loss(problem, next(iter(problem.batches)))
        except LossError:  # an operator that cannot be followed, such as one on nested tensors
            return []
    if _random_state(problem.model) != before:  # what is drawn depends on what was drawn before
        return []
    constant = callers.keys() - dependent - hooked
    return [module for module in constant if not callers[module] <= constant]


def _random_state(model: nn.Module) -> list[bytes]:
    """Return the state of torch's random generators that a model's operators use."""
    states = [torch.get_rng_state()]
    for device in {parameter.device for parameter in model.parameters()}:
        if device.type == "cuda":
            states.append(torch.cuda.get_rng_state(device))
    return [state.numpy().tobytes() for state in states]


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _holds_tensors_only(value: Any) -> bool:
    return all(isinstance(leaf, Tensor | int | float | None) for leaf in tree_iter(value))


class _Kept:
    """The outputs of constant modules for every batch."""

    def __init__(self, modules: list[nn.Module], memory_limit: float, stack: ExitStack) -> None:
        """Keep the outputs of these modules.

        Args:
            modules: they must not call each other.
            memory_limit: bytes that may be used in memory.
            stack: closes the temporary folder, if one is needed.
        """
        self._modules, self._memory_limit, self._stack = modules, memory_limit, stack
        self._outputs: list[dict[nn.Module, list[Any]]] = []
        self._batch: int | None = None
        self._calls = dict.fromkeys(modules, 0)
        self._forward: dict[nn.Module, Callable[..., Any]] = {}
        self._folder: Path | None = None
        self._size = 0

    def __str__(self) -> str:
        """Return a description for messages."""
        where = "in memory" if self._folder is None else "in memory and in a temporary file"
        return (
            f"modules that do not depend on the parameters that move are evaluated once "
            f"({len(self._modules)}); {self._size / 1e6:.0f} MB of their outputs are kept {where}"
        )

    def of(self, problem: Problem) -> Problem:
        """Return the problem with batches that select their outputs."""
        batches = _Numbered(problem.batches, self._start, 0)
        first, others = sum(1 for _ in problem.batches), {}
        for name, further in problem.other_batches.items():
            others[name] = _Numbered(further, self._start, first)
            first += sum(1 for _ in further)
        return replace(problem, batches=batches, other_batches=others)

    def record(self, problem: Problem) -> None:
        """Evaluate the loss on every batch, and keep the outputs that are used."""
        used: set[nn.Module] = set()
        every = chain(problem.batches, *problem.other_batches.values())
        for number, batch in enumerate(every):
            self._outputs.append({module: [] for module in self._modules})
            with ExitStack() as stack:
                for module in self._modules:
                    stack.enter_context(module.register_forward_hook(self._append))
                batch_loss(problem, batch)
            if number == 0:
                used = self._find_used(problem, batch)
            for module, outputs in self._outputs[-1].items():
                keep = self._keep if module in used else _placeholder
                self._outputs[-1][module] = tree_map_only(Tensor, keep, outputs)

    def is_right(self, problem: Problem, moving: Collection[Tensor]) -> bool:
        """Return whether the loss is the same, to the bit, with other values of what moves.

        The values are the negative ones, because these are restored exactly without a copy.
        """
        tensors = [t for t in tree_iter(self._outputs) if isinstance(t, Tensor)]
        before = [tensor._version for tensor in tensors]
        _negate(moving)
        try:
            expected = mean_losses(problem)
            with self.replaced():
                found = mean_losses(self.of(problem))
        finally:
            _negate(moving)
        is_unchanged = before == [tensor._version for tensor in tensors]
        return found == expected and all(map(math.isfinite, found)) and is_unchanged

    @contextmanager
    def replaced(self) -> Iterator[None]:
        """Replace the modules by their outputs; other problems of the model evaluate them."""
        before = {module: module.__dict__.get("forward") for module in self._modules}
        self._forward = {module: module.forward for module in self._modules}
        for module in self._modules:
            module.__dict__["forward"] = partial(self._replay, module)
        try:
            yield
        finally:
            for module, forward in before.items():
                if forward is None:
                    del module.__dict__["forward"]
                else:
                    module.__dict__["forward"] = forward

    def _append(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        self._outputs[-1][module].append(output)

    def _start(self, batch: int | None) -> None:
        self._batch, self._calls = batch, dict.fromkeys(self._modules, 0)

    def _replay(self, module: nn.Module, *inputs: Any, **options: Any) -> Any:
        if self._batch is None:
            return self._forward[module](*inputs, **options)
        call = self._calls[module]
        self._calls[module] += 1
        return self._outputs[self._batch][module][call]

    def _find_used(self, problem: Problem, batch: Any) -> set[nn.Module]:
        """Return the modules whose output another module reads on the first batch."""
        self._start(0)
        with self.replaced(), _Dependence() as following:
            batch_loss(problem, batch)
        self._start(None)
        return {
            module
            for module, outputs in self._outputs[0].items()
            if not following.used.isdisjoint(_storages(outputs))
        }

    def _keep(self, tensor: Tensor) -> Tensor:
        size = tensor.numel() * tensor.element_size()
        self._size += size
        if self._size <= self._memory_limit or tensor.device.type != "cpu":
            return tensor
        if self._folder is None:
            self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        name = str(self._folder / str(self._size))
        mapped = torch.from_file(name, shared=True, size=tensor.numel(), dtype=tensor.dtype)
        return mapped.copy_(tensor.ravel()).view(tensor.shape)


def _placeholder(tensor: Tensor) -> Tensor:
    """Return a tensor of the same shape that takes no memory, in place of one that is not read."""
    return torch.zeros((), dtype=tensor.dtype, device=tensor.device).expand(tensor.shape)


def _negate(tensors: Iterable[Tensor]) -> None:
    for tensor in tensors:
        tensor.data.neg_()


class _Numbered:
    """Batches that are announced by their number, and None after the last."""

    def __init__(
        self, batches: Iterable[Any], announce: Callable[[int | None], None], first: int
    ) -> None:
        self._batches, self._announce, self._first = batches, announce, first

    def __iter__(self) -> Iterator[Any]:
        try:
            for number, batch in enumerate(self._batches, start=self._first):
                self._announce(number)
                yield batch
        finally:
            self._announce(None)
