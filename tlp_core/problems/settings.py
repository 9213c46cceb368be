"""The settings of a problem, and the text in which its arguments are written."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tlp_core import checks
from tlp_core.choices import AUTOCASTS, DTYPES, Autocast, Dtype
from tlp_core.problems import READY_PROBLEMS

_BEFORE_NAME = re.compile(r",\s*(?=[^\W\d]\w*\s*=)")
"""Commas that separate arguments; others belong to a value."""


@dataclass(frozen=True)
class ProblemSettings:
    """Which problem, and how it is made.

    Attributes:
        name: a ready name, ``FILE.py`` or ``FILE.py:FUNCTION``, or ``hf:FOLDER``.
        arguments: keyword arguments of the function, such as ``{"beta": 30}``.
        checkpoint: file of the weights; empty keeps the problem's own.
        dtype: precision of model and batches; None keeps the model's.
        autocast: precision of the forward pass, ``bfloat16`` or ``float16`` (``torch.autocast``);
            None for that of the parameters.
        device: in torch's notation, such as ``cpu``, ``cuda`` or ``mps``; empty keeps the model's.

    Raises:
        ValueError: for an empty name or an unknown precision.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: str = ""
    dtype: Dtype | None = None
    autocast: Autocast | None = None
    device: str = ""

    def __post_init__(self) -> None:
        """Check every value."""
        if not self.name:
            known = ", ".join(READY_PROBLEMS)
            raise ValueError(f"a problem must be one of {known}, or a Python file; got no name")
        if self.dtype is not None:
            checks.choice(self.dtype, DTYPES, name="dtype")
        if self.autocast is not None:
            checks.choice(self.autocast, AUTOCASTS, name="autocast")


def parse_arguments(text: str) -> dict[str, Any]:
    """Return the keyword arguments that a text of a Python call holds.

    Args:
        text: such as ``beta=30, layers=[64, 64]``. Values are Python literals; any other value,
            such as a path without quotes, is a string.

    Raises:
        ValueError: if the text has another form.

    Examples:
        >>> parse_arguments("beta=30, layers=[64, 64], tilt=(1, 2)")
        {'beta': 30, 'layers': [64, 64], 'tilt': (1, 2)}
        >>> parse_arguments("layers=[64, 64], data=my folder/data.pt")
        {'layers': [64, 64], 'data': 'my folder/data.pt'}
    """
    pairs = _call_keywords(text)
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names) or not all(name.isidentifier() for name in names):
        raise ValueError(f"arguments must be like 'beta=30, layers=[64, 64]', got {text!r}")
    return {name: _literal(value) for name, value in pairs}


def _call_keywords(text: str) -> list[tuple[str, str]]:
    """Return names and values of the keywords of a call; a name is empty where there is none."""
    source = f"_({text})"
    try:
        call = ast.parse(source, mode="eval").body
    except SyntaxError:  # strings without quotes, such as paths
        parts = [part.partition("=") for part in _BEFORE_NAME.split(text)]
        return [(name.strip() if equals else "", value) for name, equals, value in parts]
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)) or call.args:
        return [("", "")]
    return [(k.arg or "", ast.get_source_segment(source, k.value) or "") for k in call.keywords]


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return text.strip()
