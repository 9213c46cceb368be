"""The work of one evaluation of a loss, counted without a clock.

Which engine evaluates a landscape decides the last digits of its losses. A choice by a clock would
differ from run to run, so the choice is made from counts, which are the same in every run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry

from tlp_core.operator_mode import OperatorMode
from tlp_core.problem import Problem, mean_loss

_CALL_SECONDS = 2e-5
"""Time of a call of an operator; measured on a core of a virtual machine, as the next two."""

_VALUE_SECONDS = 2e-9
"""Time to write a value."""

_FLOP_SECONDS = 5e-11
"""Time of a floating-point operation in a matrix product or a convolution."""


@dataclass(frozen=True)
class Work:
    """What one evaluation of a loss takes.

    Attributes:
        calls: number of calls of operators.
        values: number of values that they write.
        flops: floating-point operations of matrix products and convolutions.
        value_bytes: bytes that the values occupy, if none of them is freed.
    """

    calls: int
    values: int
    flops: int
    value_bytes: int

    @property
    def values_per_call(self) -> float:
        """Mean number of values that a call writes."""
        return self.values / max(1, self.calls)

    def seconds(self, batch: int = 1) -> float:
        """Return a rough time of one sample, if so many are evaluated in one call."""
        computing = self.values * _VALUE_SECONDS + self.flops * _FLOP_SECONDS
        return self.calls * _CALL_SECONDS / batch + computing


def count_work(problem: Problem) -> Work:
    """Return the work of one evaluation of a problem's loss, by evaluating it once.

    Raises:
        LossError: if the loss fails.
    """
    with _Counter() as counter:
        mean_loss(problem)
    return Work(counter.calls, counter.values, counter.flops, counter.value_bytes)


class _Counter(OperatorMode):
    """A counter of torch's operators, also of those within derivatives."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = self.values = self.flops = self.value_bytes = 0

    def __torch_dispatch__(
        self, function: Any, _types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        self.calls += 1
        if not function.is_view:
            written = [tensor for tensor in tree_iter(result) if isinstance(tensor, Tensor)]
            self.values += sum(tensor.numel() for tensor in written)
            self.value_bytes += sum(t.numel() * t.element_size() for t in written)
        count = flop_registry.get(function._overloadpacket)
        if count is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=result)
        return result
