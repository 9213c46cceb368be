"""UNet followed by a CRF-RNN layer, for image segmentation (Avaylon et al. 2022).

The mean-field iterations of the CRF are layers of the network (Zheng et al. 2015, "Conditional
random fields as recurrent neural networks", section 4). The weights of the kernels and the
compatibilities are therefore trained end to end with the other parameters.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

from tlp_core import checks
from tlp_core.problem import Problem, match_batch

CLASSES = 3
"""Number of classes: pet, background and border, as in Oxford-IIIT Pet."""

Split = Literal["trainval", "test"]
Example = tuple[Tensor, ...]
"""A picture (3, S, S) and its labels (S, S), or a batch of both."""

_SHAPES: dict[Split, int] = {"trainval": 320, "test": 80}
"""Number of generated pictures of shapes in each split."""


class CRFasRNN(nn.Module):
    """Mean-field inference of a conditional random field (CRF) of pixels in a window.

    The neighbours of a pixel are all pixels in the square window of ``radius`` around it. Their
    messages are weighted by an appearance kernel exp(-|p|² / 2α² - |I|² / 2β²) and a smoothness
    kernel exp(-|p|² / 2γ²), where p and I are the differences in position and colour. Each kernel
    is normalized over the neighbours. If the radius is as large as the image, the model is the
    fully connected CRF of the paper; the paper approximates its filtering on a lattice.
    """

    def __init__(
        self,
        classes: int,
        *,
        iterations: int = 5,
        radius: int = 5,
        alpha: float = 8.0,
        beta: float = 0.2,
        gamma: float = 3.0,
    ) -> None:
        """Create the layer.

        Args:
            classes: number K of classes.
            iterations: number of mean-field iterations. Default: 5.
            radius: half the width of the window, in pixels. Default: 5.
            alpha: width α of the appearance kernel in space, in pixels. Default: 8.
            beta: width β of the appearance kernel in colour, for colours from 0 to 1. Default: 0.2.
            gamma: width γ of the smoothness kernel, in pixels. Default: 3.
        """
        super().__init__()
        self.iterations, self.radius = iterations, radius
        self.alpha, self.beta, self.gamma = alpha, beta, gamma
        self.kernel_weights = nn.Parameter(torch.tensor([1.0, 1.0]))
        self.compatibility = nn.Parameter(-torch.eye(classes))

    def forward(self, unary: Tensor, image: Tensor) -> Tensor:
        """Return refined logits (B, K, H, W) from logits and images.

        Args:
            unary: (B, K, H, W), the logits to refine.
            image: (B, C, H, W), the images, with colours from 0 to 1.
        """
        kernels = self._kernels(image)
        logits = unary
        for _ in range(self.iterations):
            messages = self._filter(logits.softmax(dim=1), kernels)
            weighted = torch.einsum("m,bmkhw->bkhw", self.kernel_weights, messages)
            logits = unary - torch.einsum("kj,bjhw->bkhw", self.compatibility, weighted)
        return logits

    def _kernels(self, image: Tensor) -> Tensor:
        """Return both kernels for the D pixels of each window, (B, 2, D, H, W)."""
        squared_distance = self._squared_distances(image).to(image)
        in_image = self._windows(torch.ones_like(image[:, :1]))[:, 0]
        off_centre = squared_distance[None, :, None, None] > 0
        colour = (self._windows(image) - image[:, :, None]).square().sum(1)
        position = squared_distance[None, :, None, None]
        appearance = torch.exp(-position / (2 * self.alpha**2) - colour / (2 * self.beta**2))
        smoothness = torch.exp(-position / (2 * self.gamma**2)).expand_as(appearance)
        kernels = torch.stack([appearance, smoothness], dim=1) * (in_image * off_centre)[:, None]
        normalized: Tensor = kernels / kernels.sum(dim=2, keepdim=True).clamp_min(1e-12)
        return normalized

    def _filter(self, probabilities: Tensor, kernels: Tensor) -> Tensor:
        """Return the message of each kernel to each pixel, (B, 2, K, H, W)."""
        return torch.einsum("bkdhw,bmdhw->bmkhw", self._windows(probabilities), kernels)

    def _windows(self, values: Tensor) -> Tensor:
        """Return the values in the window of each pixel, 0 outside the image, (B, C, D, H, W)."""
        batch, channels, height, width = values.shape
        size = 2 * self.radius + 1
        columns = functional.unfold(values, size, padding=self.radius)
        return columns.view(batch, channels, size**2, height, width)

    def _squared_distances(self, image: Tensor) -> Tensor:
        """Return the squared distance of each pixel of a window from the centre, (D,)."""
        steps = torch.arange(-self.radius, self.radius + 1, device=image.device)
        return (steps[:, None].square() + steps[None].square()).flatten()


class UNet(nn.Module):
    """Convolutional encoder and decoder with skip connections (Ronneberger et al. 2015)."""

    def __init__(self, classes: int, *, depth: int = 5, width: int = 16, channels: int = 3) -> None:
        """Create a UNet.

        Args:
            classes: number K of classes.
            depth: number of levels. Default: 5.
            width: number of channels at the first level; it doubles at each level. Default: 16.
            channels: number C of channels of the images. Default: 3.
        """
        super().__init__()
        widths = [width * 2**level for level in range(depth)]
        inputs = [channels, *widths[:-1]]
        self.down = nn.ModuleList(_convolutions(a, b) for a, b in zip(inputs, widths))
        self.rise = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths)
        )
        self.up = nn.ModuleList(_convolutions(2 * a, a) for a in widths[:-1])
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, K, H, W) of images (B, C, H, W), H and W multiples of 2^(depth-1)."""
        x, skips = image, []
        for level, down in enumerate(self.down):
            x = down(functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for level in range(len(self.up) - 1, -1, -1):
            x = self.up[level](torch.cat([skips[level], self.rise[level](x)], dim=1))
        logits: Tensor = self.classify(x)
        return logits


class UNetCRF(nn.Module):
    """UNet whose logits are refined by a CRF."""

    def __init__(self, unet: UNet, crf: CRFasRNN) -> None:
        """Create the network from a UNet and a CRF of the same number of classes."""
        super().__init__()
        self.unet, self.crf = unet, crf

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, K, H, W) of images (B, C, H, W)."""
        refined: Tensor = self.crf(self.unet(image), image)
        return refined


def make_problem(
    data: str = "",
    size: int = 224,
    images: int = 32,
    depth: int = 5,
    width: int = 16,
    radius: int = 5,
    seed: int = 0,
) -> Problem:
    """Return the segmentation problem on one batch of pets or of generated shapes.

    The metrics are ``test loss`` and ``pixel accuracy``, the fraction of pixels, 0 to 1, with the
    correct label. They are evaluated on the same number of test pictures.

    Args:
        data: folder of Oxford-IIIT Pet, see :class:`Pets`. Default: empty, which selects generated
            pictures of ellipses on a noisy background.
        size: width and height of the pictures, in pixels, a multiple of 2^(depth - 1).
            Default: 224.
        images: number of pictures in the batch, >= 1, at most as many as each split has.
            Default: 32.
        depth: number of levels of the UNet, >= 1. Default: 5.
        width: number of channels at the first level of the UNet, >= 1. Default: 16.
        radius: half the width of the window of the CRF, in pixels, >= 1. Default: 5.
        seed: random seed of the parameters and of the choice of pictures, >= 0. Default: 0.

    Returns:
        The problem, with one batch.

    Raises:
        ValueError: if a number is out of its range, or the list of names of the pets is empty.
        TypeError: if a number is not an integer.
        FileNotFoundError: if a file of the pets is missing.
    """
    depth = checks.integer(depth, name="depth", minimum=1)
    width = checks.integer(width, name="width", minimum=1)
    radius = checks.integer(radius, name="radius", minimum=1)
    images = checks.integer(images, name="images", minimum=1)
    size = checks.integer(size, name="size", minimum=2 ** (depth - 1))
    if size % 2 ** (depth - 1):
        raise ValueError(f"size must be a multiple of {2 ** (depth - 1)}, got {size}")
    seed = checks.integer(seed, name="seed", minimum=0)
    batch = _random_batch(segmentation_set(data, "trainval", size), images, seed)
    test_batch = _random_batch(segmentation_set(data, "test", size), images, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = UNetCRF(UNet(CLASSES, depth=depth, width=width), CRFasRNN(CLASSES, radius=radius))

    @torch.no_grad()
    def metrics(model: nn.Module) -> dict[str, float]:
        pictures, labels = match_batch(test_batch, model)
        logits = model(pictures)
        accuracy = (logits.argmax(1) == labels).float().mean()
        loss = functional.cross_entropy(logits, labels)
        return {"test loss": float(loss), "pixel accuracy": float(accuracy)}

    name = f"UNet with CRF-RNN, {'pets' if data else 'shapes'}"
    return Problem(model, segmentation_loss, [batch], name=name, metrics=metrics)


def segmentation_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the mean cross-entropy over all pixels of pictures (B, 3, S, S), labels (B, S, S)."""
    return functional.cross_entropy(model(batch[0]), batch[1])


def segmentation_set(data: str, split: Split, size: int) -> Dataset[Example]:
    """Return a dataset of pictures with labels.

    Args:
        data: folder of Oxford-IIIT Pet, see :class:`Pets`; empty for generated shapes, which are
            deterministic.
        split: ``trainval`` or ``test``.
        size: width and height S of the pictures, in pixels.

    Returns:
        Pictures (3, S, S) float32, from 0 to 1, and labels (S, S) int64: 0 is the pet, 1 the
        background, 2 the border.

    Raises:
        FileNotFoundError: if a file of the pets is missing.
        ValueError: if the list of names of the pets is empty.
    """
    if data:
        return Pets(data, split, size)
    return TensorDataset(*shapes(size, _SHAPES[split], seed=list(_SHAPES).index(split)))


def shapes(size: int, images: int, seed: int) -> Example:
    """Return generated pictures of an ellipse on a noisy background, and their labels.

    Args:
        size: width and height S of the pictures, in pixels.
        images: number N of pictures.
        seed: random seed of shapes, colours and noise.

    Returns:
        Pictures (N, 3, S, S) float32, from 0 to 1, and labels (N, S, S) int64, see
        :func:`segmentation_set`.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    axis = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    middle, radii = 0.6 * draw(images, 2, 1, 1) - 0.3, 0.25 + 0.4 * draw(images, 2, 1, 1)
    level = ((x - middle[:, 0]) / radii[:, 0]).square() + (
        (y - middle[:, 1]) / radii[:, 1]
    ).square()
    labels = torch.where(level < 0.8, 0, torch.where(level > 1.25, 1, 2))
    colours = torch.stack([0.6 + 0.4 * draw(images, 3), 0.4 * draw(images, 3)], dim=1)
    mask = (level < 1).float()[:, None]
    clean = mask * colours[:, 0, :, None, None] + (1 - mask) * colours[:, 1, :, None, None]
    noise = 0.2 * torch.randn(images, 3, size, size, generator=generator)
    return (clean + noise).clamp(0, 1), labels


class Pets(Dataset[Example]):
    """Oxford-IIIT Pet (Parkhi et al. 2012); each picture is read from its file when it is used.

    The folder contains ``images/NAME.jpg``, ``annotations/trimaps/NAME.png``,
    ``annotations/trainval.txt`` and ``annotations/test.txt``. A trimap has the values 1 for the
    pet, 2 for the background and 3 for the border. Each line of the text files starts with a NAME.
    """

    def __init__(self, folder: str, split: Split, size: int) -> None:
        """Find the pictures of a split.

        Args:
            folder: the folder of Oxford-IIIT Pet.
            split: ``trainval`` or ``test``.
            size: width and height to which pictures and labels are scaled, in pixels.

        Raises:
            FileNotFoundError: if the list of names, a picture or a trimap is missing.
            ValueError: if the list of names is empty.
        """
        annotations = Path(folder) / "annotations"
        name_list = annotations / f"{split}.txt"
        if not name_list.is_file():
            raise FileNotFoundError(
                f"data must be the folder of Oxford-IIIT Pet, but {name_list} does not exist"
            )
        names = [line.split()[0] for line in name_list.read_text().splitlines() if line.strip()]
        self._size = size
        self._files = [
            (Path(folder) / "images" / f"{name}.jpg", annotations / "trimaps" / f"{name}.png")
            for name in names
        ]
        missing = [path for pair in self._files for path in pair if not path.is_file()]
        if not names:
            raise ValueError(f"{name_list} must contain names of pictures, got an empty file")
        if missing:
            raise FileNotFoundError(
                f"data must be the folder of Oxford-IIIT Pet, but {len(missing)} files of "
                f"{split}.txt do not exist, for example {missing[0]}"
            )

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._files)

    def __getitem__(self, index: int) -> Example:
        """Return a picture (3, S, S) float32, from 0 to 1, and its labels (S, S) int64."""
        from PIL import Image

        shape = (self._size, self._size)
        with Image.open(self._files[index][0]) as picture, Image.open(self._files[index][1]) as map:
            scaled = picture.convert("RGB").resize(shape, Image.Resampling.BILINEAR)
            trimap = map.resize(shape, Image.Resampling.NEAREST)
            pixels = torch.from_numpy(np.array(scaled)).permute(2, 0, 1) / 255
            return pixels, torch.from_numpy(np.array(trimap)).long() - 1


def _random_batch(examples: Any, count: int, seed: int) -> Example:
    """Return a random choice of examples as one batch."""
    if len(examples) < count:
        raise ValueError(f"images must be <= {len(examples)}, the number of pictures, got {count}")
    chosen = np.random.default_rng(seed).choice(len(examples), count, replace=False)
    pictures, labels = zip(*(examples[i] for i in sorted(chosen.tolist())))
    return torch.stack(pictures), torch.stack(labels)


def _convolutions(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
