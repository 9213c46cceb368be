"""ResNet-20 with and without skip connections (He et al. 2015, section 4.2; Xie et al. 2024)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tlp_core import checks
from tlp_core.problem import Problem, match_batch

_RECORD = 1 + 3 * 32 * 32
"""Bytes of an image in the binary version of CIFAR-10: its label, then red, green and blue."""


class ResidualBlock(nn.Module):
    """Two convolutions, and the input beside them where there are skip connections."""

    def __init__(self, before: int, after: int, *, skip: bool) -> None:
        """Make one that halves the image where it doubles the channels."""
        super().__init__()
        stride = 1 if before == after else 2
        self.skip, self.stride, self.more = skip, stride, after - before
        self.first = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm_first, self.norm_second = nn.BatchNorm2d(after), nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, after, H / stride, W / stride)."""
        out = functional.relu(self.norm_first(self.first(x)))
        out = self.norm_second(self.second(out))
        if self.skip:
            identity = x[:, :, :: self.stride, :: self.stride]
            out = out + functional.pad(identity, (0, 0, 0, 0, 0, self.more))
        return functional.relu(out)


class ResNet(nn.Module):
    """6 n + 2 layers in three stages: 20 for three blocks in each."""

    def __init__(self, *, blocks: int = 3, width: int = 16, channels: int = 3, skip: bool) -> None:
        """Make one whose first stage has ``width`` channels."""
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        widths = [width * 2**stage for stage in range(3) for _ in range(blocks)]
        self.blocks = nn.Sequential(
            *(ResidualBlock(a, b, skip=skip) for a, b in zip([width, *widths], widths))
        )
        self.classify = nn.Linear(widths[-1], 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, 10) of images (B, C, H, W)."""
        x = self.blocks(functional.relu(self.norm(self.first(images))))
        logits: Tensor = self.classify(x.mean(dim=(2, 3)))
        return logits


def make_problem(
    data: str = "",
    skip: bool = True,
    images: int = 256,
    blocks: int = 3,
    width: int = 16,
    seed: int = 0,
) -> Problem:
    """Return a classification problem on CIFAR-10, or on scikit-learn's digits.

    Args:
        data: folder of CIFAR-10's binary version, ``cifar-10-batches-bin``; without one, the
            digits, 1,797 images of 8 x 8.
        skip: whether blocks have skip connections.
        images: of the training set on which the loss is taken.
        blocks: in each of three stages; 3 make ResNet-20.
        width: channels of the first stage.
        seed: of the parameters and of the choice of images.
    """
    seed = checks.integer(seed, name="seed", minimum=0)
    skip = checks.boolean(skip, name="skip")
    images = checks.integer(images, name="images", minimum=1)
    blocks = checks.integer(blocks, name="blocks", minimum=1)
    width = checks.integer(width, name="width", minimum=1)
    (inputs, labels), (test_inputs, test_labels) = cifar10(data) if data else digits()
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(inputs), generator=generator)[:images]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ResNet(blocks=blocks, width=width, channels=inputs.shape[1], skip=skip)

    @torch.no_grad()
    def metrics(model: nn.Module) -> dict[str, float]:
        parts = zip(torch.split(test_inputs, 1000), torch.split(test_labels, 1000))
        batches = (match_batch(part, model) for part in parts)
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in batches)
        return {"test accuracy": right / len(test_labels)}

    name = f"ResNet-{6 * blocks + 2}{'' if skip else ' without skips'}"
    batches = [(inputs[chosen], labels[chosen])]
    return Problem(model, classification_loss, batches, name=name, metrics=metrics)


def classification_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the mean cross-entropy."""
    return functional.cross_entropy(model(batch[0]), batch[1])


Images = tuple[Tensor, Tensor]


def digits() -> tuple[Images, Images]:
    """Return scikit-learn's digits for training (1,437) and for testing (360)."""
    from sklearn.datasets import load_digits

    content = load_digits()
    inputs = torch.from_numpy(content.images / 16).float()[:, None]
    labels = torch.from_numpy(content.target).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, test = order.tensor_split([len(order) * 4 // 5])
    return (inputs[train], labels[train]), (inputs[test], labels[test])


def cifar10(folder: str) -> tuple[Images, Images]:
    """Return CIFAR-10 from its binary version, whose files hold no code.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is none of them.
    """
    names = [f"data_batch_{i}.bin" for i in range(1, 6)]
    return _binary([Path(folder) / n for n in names]), _binary([Path(folder) / "test_batch.bin"])


def _binary(paths: list[Path]) -> Images:
    parts = []
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(
                f"data must be a folder of CIFAR-10's binary version, and {path} is not there"
            )
        content = np.fromfile(path, dtype=np.uint8)
        if not len(content) or len(content) % _RECORD:
            raise ValueError(f"{path} must hold records of {_RECORD} bytes, and does not")
        parts.append(content.reshape(-1, _RECORD))
    records = np.concatenate(parts)
    if records[:, 0].max() > 9:
        raise ValueError(f"labels of {paths[0].parent} must be 0 to 9, got {records[:, 0].max()}")
    images = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32)).float() / 255
    return images, torch.from_numpy(records[:, 0].astype(np.int64))
