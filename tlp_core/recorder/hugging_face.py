"""A recorder as a callback of the trainer of Hugging Face (package ``transformers``)."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from tlp_core.recorder.recorder import LandscapeRecorder


class LandscapeCallback(TrainerCallback):  # type: ignore[misc]
    """Records after each optimizer step, accumulated gradients and mixed precision included.

    The losses that the trainer has logged last, ``loss`` and ``eval_loss``, are written beside the
    descriptors.

    Example:
        ``Trainer(model, arguments, …, callbacks=[LandscapeCallback(recorder)])``
    """

    def __init__(self, recorder: LandscapeRecorder) -> None:
        """Attach a recorder; its problem must hold the model that is trained, not a copy."""
        self._recorder = recorder
        self._losses: dict[str, float] = {}

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Keep the losses that are logged."""
        for name, own in (("loss", "training_loss"), ("eval_loss", "validation_loss")):
            if name in (logs or {}):
                self._losses[own] = float(logs[name])

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the network before the first step, or where the training resumes."""
        self._recorder.step(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the network after an optimizer step."""
        self._recorder.step(state.global_step, **self._losses)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the recorder."""
        self._recorder.close()
