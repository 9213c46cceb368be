"""A recorder as a callback of Lightning (package ``lightning``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback

from tlp_core.recorder.recorder import LandscapeRecorder


class LandscapeCallback(Callback):  # type: ignore[misc]
    """Records after each optimizer step, accumulated gradients and mixed precision included.

    The loss that the training step returns, and ``val_loss`` if the module logs it, are written
    beside the descriptors.

    Example:
        ``lightning.Trainer(callbacks=[LandscapeCallback(recorder)])``
    """

    def __init__(self, recorder: LandscapeRecorder) -> None:
        """Attach a recorder; its problem must hold the model that is trained, not a copy."""
        self._recorder = recorder

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Record the network before the first step, or where the training resumes."""
        self._recorder.step(trainer.global_step)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, *_rest: Any, **_named: Any
    ) -> None:
        """Record the network after an optimizer step."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        self._recorder.step(
            trainer.global_step,
            training_loss=loss,
            validation_loss=trainer.callback_metrics.get("val_loss"),
        )

    def on_train_end(self, _trainer: Any, pl_module: Any) -> None:
        """Close the recorder."""
        self._recorder.close()
