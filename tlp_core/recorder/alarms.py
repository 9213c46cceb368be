"""Alarms: a user's function is called when a number of the records fulfils a rule."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable

from tlp_core import checks
from tlp_core.analysis.change_points import MINIMUM_POINTS, find_transitions
from tlp_core.landscape.table import number_or_nan
from tlp_core.recorder.record import Record

_COMPARISONS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

_RULE = re.compile(
    r"(?P<name>[^<>=]+?)\s*(?:(?P<sign><=|>=|<|>)\s*(?P<limit>\S+)|\s(?P<change>changes))"
)

_SIMULATIONS = 2
"""Number of simulated series for a test, times its significance."""

_SAME = 2
"""Number of records within which a change that was found again is the same one."""

Call = Callable[[Record, str], None]


class Alarm:
    """Calls a function when a rule holds; an output of a recorder.

    A comparison (``critical_sharpness > 400``) calls when it begins to hold, and again when it did
    not hold in between. A change (``number_of_minima changes``) calls when
    :func:`~tlp_core.analysis.change_points.find_transitions` finds a new change of level in the
    records so far; it takes trends and autocorrelated noise into account, and needs at least eight
    records. It looks each time that there are an eighth more records, at a level that keeps the
    chance of a false alarm in the whole training.

    Example:
        >>> alarm = Alarm("loss > 5", lambda record, text: print(record.step, text))
    """

    def __init__(self, when: str, call: Call, *, significance: float = 0.05) -> None:
        """Read the rule.

        Args:
            when: ``NAME < NUMBER`` (also ``<=``, ``>``, ``>=``), or ``NAME changes``, where NAME is
                a column of the recorder's table.
            call: called with the record and a sentence.
            significance: largest probability, between 0 and 1, that a training without a change
                calls at all.

        Raises:
            ValueError: for a rule of another form, or a significance out of range.
            TypeError: if ``call`` is not a function.
        """
        match = _RULE.fullmatch(when.strip())
        limit = number_or_nan(match["limit"]) if match else math.nan
        if match is None or (not match["change"] and math.isnan(limit)):
            raise ValueError(
                f"when must be 'NAME > NUMBER' (or <, >=, <=) or 'NAME changes', got {when!r}"
            )
        if not callable(call):
            raise TypeError(f"call must be a function of (record, text), got {call!r}")
        if not 0 < checks.real(significance, name="significance") < 1:
            raise ValueError(f"significance must lie between 0 and 1, got {significance:g}")
        self._when, self._name, self._call = when.strip(), match["name"], call
        self._sign, self._limit = match["sign"], limit
        self._significance = significance
        self._holds = False
        self._steps: list[int] = []
        self._values: list[float] = []
        self._told: list[int] = []
        self._looks, self._next_look = 0, MINIMUM_POINTS

    def write(self, record: Record) -> None:
        """Look at one record.

        Raises:
            ValueError: if the records have no such number.
        """
        if self._name not in record.values:
            names = ", ".join(list(record.values)[:6])
            raise ValueError(f"an alarm must name one of {names}, …, got {self._name!r}")
        value = record.values[self._name]
        if self._sign:
            self._compare(record, value)
        elif math.isfinite(value):
            self._steps.append(record.step)
            self._values.append(value)
            self._look_for_change(record)

    def close(self) -> None:
        """Do nothing: the records are over."""

    def _compare(self, record: Record, value: float) -> None:
        if math.isnan(value):
            return
        held, self._holds = self._holds, _COMPARISONS[self._sign](value, self._limit)
        if self._holds and not held:
            self._call(record, f"step {record.step}: {self._when}, it is {value:.6g}")

    def _look_for_change(self, record: Record) -> None:
        """Test all records so far, each time that there are an eighth more of them.

        The k-th look has the significance α / (k (k + 1)), so that all together have α.
        """
        if len(self._values) < self._next_look:
            return
        self._looks += 1
        self._next_look = len(self._values) + max(1, len(self._values) // 8)
        level = self._significance / (self._looks * (self._looks + 1))
        found = find_transitions(
            self._values, significance=level, simulations=round(_SIMULATIONS / level)
        )
        for change in found:
            if all(abs(change.index - told) > _SAME for told in self._told):
                self._told.append(change.index)
                self._call(
                    record,
                    f"step {record.step}: {self._name} changed at step "
                    f"{self._steps[change.index]} from {change.before:.6g} to {change.after:.6g} "
                    f"(p = {change.p_value:.2g})",
                )
