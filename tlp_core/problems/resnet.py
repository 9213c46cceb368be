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
"""Bytes per image in the binary version of CIFAR-10: the label, then red, green and blue."""


class ResidualBlock(nn.Module):
    """Block of two convolutions, with or without a skip connection."""

    def __init__(self, inputs: int, outputs: int, *, skip: bool) -> None:
        """Create a block; its stride is 2 if the number of channels changes, else 1.

        Args:
            inputs: number of input channels.
            outputs: number of output channels, >= ``inputs``.
            skip: add the input to the output.
        """
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.skip, self.stride, self.new_channels = skip, stride, outputs - inputs
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm_first, self.norm_second = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (B, outputs, H / stride, W / stride) of features (B, inputs, H, W)."""
        out = functional.relu(self.norm_first(self.first(x)))
        out = self.norm_second(self.second(out))
        if self.skip:
            identity = x[:, :, :: self.stride, :: self.stride]
            out = out + functional.pad(identity, (0, 0, 0, 0, 0, self.new_channels))
        return functional.relu(out)


class ResNet(nn.Module):
    """ResNet for small images: three stages of n blocks, 6 n + 2 layers in all."""

    def __init__(self, *, blocks: int = 3, width: int = 16, channels: int = 3, skip: bool) -> None:
        """Create a network for ten classes.

        Args:
            blocks: number n of blocks per stage. Default: 3, which is ResNet-20.
            width: number of channels of the first stage; it doubles at each stage. Default: 16.
            channels: number of channels of the images. Default: 3.
            skip: use skip connections.
        """
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
    noise: float = 0.0,
    seed: int = 0,
) -> Problem:
    """Return the classification problem on CIFAR-10 or on the digits of scikit-learn.

    The metric is ``test accuracy``, the fraction, 0 to 1, of test images that are classified
    correctly.

    Args:
        data: folder of the binary version of CIFAR-10, ``cifar-10-batches-bin``. Default: empty,
            which selects the digits, 1,797 images of 8 x 8 pixels.
        skip: use skip connections. Default: True.
        images: number of training images on which the loss is evaluated, >= 1; all if there are
            fewer. Default: 256.
        blocks: number of blocks in each of three stages, >= 1. Default: 3, which is ResNet-20.
        width: number of channels of the first stage, >= 1. Default: 16.
        noise: fraction of the training labels that are wrong, see :func:`noisy_labels`.
            Default: 0.
        seed: random seed of the parameters and of the choice of images, >= 0. Default: 0.

    Returns:
        The problem, with one batch.

    Raises:
        ValueError: if a number is out of its range, or a file is not part of CIFAR-10.
        TypeError: if ``skip`` is not a bool, ``noise`` is not a number, or another number is not an
            integer.
        FileNotFoundError: if a file of CIFAR-10 is missing.
    """
    seed = checks.integer(seed, name="seed", minimum=0)
    skip = checks.boolean(skip, name="skip")
    images = checks.integer(images, name="images", minimum=1)
    blocks = checks.integer(blocks, name="blocks", minimum=1)
    width = checks.integer(width, name="width", minimum=1)
    (inputs, labels), (test_inputs, test_labels) = cifar10(data) if data else digits()
    labels = noisy_labels(labels, noise)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(inputs), generator=generator)[:images]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ResNet(blocks=blocks, width=width, channels=inputs.shape[1], skip=skip)

    @torch.no_grad()
    def metrics(model: nn.Module) -> dict[str, float]:
        parts = zip(torch.split(test_inputs, 1000), torch.split(test_labels, 1000))
        batches = (match_batch(part, model) for part in parts)
        correct = sum(int((model(x).argmax(1) == y).sum()) for x, y in batches)
        return {"test accuracy": correct / len(test_labels)}

    name = f"ResNet-{6 * blocks + 2}{'' if skip else ' without skips'}"
    batches = [(inputs[chosen], labels[chosen])]
    return Problem(model, classification_loss, batches, name=name, metrics=metrics)


def classification_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the mean cross-entropy of a batch of inputs (B, …) and labels (B,)."""
    return functional.cross_entropy(model(batch[0]), batch[1])


def noisy_labels(labels: Tensor, fraction: float) -> Tensor:
    """Return labels of which some are replaced by another class, the same ones at each call.

    A network can learn such labels by heart only, so that its accuracy on other images falls.

    Args:
        labels: labels (N,) from 0 to 9.
        fraction: fraction of wrong labels, from 0 to 1.

    Raises:
        ValueError: if the fraction is out of its range.
        TypeError: if it is not a number.
    """
    if not 0 <= checks.real(fraction, name="noise") <= 1:
        raise ValueError(f"noise must be from 0 to 1, got {fraction:g}")
    generator = torch.Generator().manual_seed(0)
    wrong = torch.randperm(len(labels), generator=generator)[: round(fraction * len(labels))]
    shifts = torch.randint(1, 10, (len(labels),), generator=generator)
    noisy = labels.clone()
    noisy[wrong] = (labels[wrong] + shifts[wrong]) % 10
    return noisy


Images = tuple[Tensor, Tensor]
"""Images (N, C, H, W) float32, from 0 to 1, and their labels (N,) int64."""


def digits() -> tuple[Images, Images]:
    """Return the training set (1,437 images) and the test set (360) of scikit-learn's digits."""
    from sklearn.datasets import load_digits

    content = load_digits()
    inputs = torch.from_numpy(content.images / 16).float()[:, None]
    labels = torch.from_numpy(content.target).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, test = order.tensor_split([len(order) * 4 // 5])
    return (inputs[train], labels[train]), (inputs[test], labels[test])


def cifar10(folder: str) -> tuple[Images, Images]:
    """Return the training set and the test set of CIFAR-10 from its binary version.

    The files of the binary version contain no code, unlike those of the Python version.

    Args:
        folder: folder of the binary version, ``cifar-10-batches-bin``.

    Returns:
        The training set (50,000 images) and the test set (10,000 images).

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file does not have the format of CIFAR-10.
    """
    names = [f"data_batch_{i}.bin" for i in range(1, 6)]
    training = _read_images([Path(folder) / name for name in names])
    return training, _read_images([Path(folder) / "test_batch.bin"])


def _read_images(paths: list[Path]) -> Images:
    parts = []
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(
                f"data must be a folder with the binary version of CIFAR-10, but {path} does not "
                "exist"
            )
        content = np.fromfile(path, dtype=np.uint8)
        if not len(content) or len(content) % _RECORD:
            raise ValueError(
                f"{path} must contain records of {_RECORD} bytes, got {len(content)} bytes"
            )
        parts.append(content.reshape(-1, _RECORD))
    records = np.concatenate(parts)
    if records[:, 0].max() > 9:
        raise ValueError(f"labels of {paths[0].parent} must be 0 to 9, got {records[:, 0].max()}")
    images = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32)).float() / 255
    return images, torch.from_numpy(records[:, 0].astype(np.int64))
