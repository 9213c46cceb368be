"""A mode that sees every operator of torch."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode


class OperatorMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The base of modes that are never active in compiled code."""

    def __init__(self) -> None:
        """Prepare the mode."""
        super().__init__()  # type: ignore[no-untyped-call]

    def __init_subclass__(cls) -> None:
        """Leave the method of a mode as it is; torch would load its compiler to exclude it."""
        super(TorchDispatchMode, cls).__init_subclass__()
