"""UNet with a CRF-RNN layer behind it, for segmentation (Avaylon et al. 2022).

The CRF's mean-field iterations are layers of the network (Zheng et al. 2015, "Conditional random
fields as recurrent neural networks", section 4), so that kernels' weights and compatibilities are
learned with the rest, end to end.
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
"""Pet, background and border, as in Oxford-IIIT Pet."""

Split = Literal["trainval", "test"]
Example = tuple[Tensor, ...]
"""A picture and its labels, or a batch of them."""

_SHAPES: dict[Split, int] = {"trainval": 320, "test": 80}
"""How many pictures of shapes there are."""


class CRFasRNN(nn.Module):
    """Mean-field inference of a conditional random field over pixels in a window.

    A pixel hears from all others at most ``radius`` away, by an appearance kernel
    exp(-|p|² / 2α² - |I|² / 2β²) and a smoothness kernel exp(-|p|² / 2γ²), each normalized over its
    neighbours; p and I are the differences of place and colour. A radius as large as the image
    makes it the fully connected CRF of the paper, whose filtering is approximated on a lattice
    instead.
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
        """Make one with kernels of given widths, in pixels and in colour from 0 to 1."""
        super().__init__()
        self.iterations, self.radius = iterations, radius
        self.alpha, self.beta, self.gamma = alpha, beta, gamma
        self.kernel_weights = nn.Parameter(torch.tensor([1.0, 1.0]))
        self.compatibility = nn.Parameter(-torch.eye(classes))

    def forward(self, unary: Tensor, image: Tensor) -> Tensor:
        """Return refined logits of logits ``unary`` (B, K, H, W) and an image (B, C, H, W)."""
        kernels = self._kernels(image)
        logits = unary
        for _ in range(self.iterations):
            heard = self._filtered(logits.softmax(dim=1), kernels)
            mixed = torch.einsum("m,bmkhw->bkhw", self.kernel_weights, heard)
            logits = unary - torch.einsum("kj,bjhw->bkhw", self.compatibility, mixed)
        return logits

    def _kernels(self, image: Tensor) -> Tensor:
        """Return appearance and smoothness of each neighbour (B, 2, D, H, W), D of a window."""
        apart = self._distances(image).to(image)
        there = self._windows(torch.ones_like(image[:, :1]))[:, 0]
        middle = apart[None, :, None, None] > 0
        colours = (self._windows(image) - image[:, :, None]).square().sum(1)
        place = apart[None, :, None, None]
        appearance = torch.exp(-place / (2 * self.alpha**2) - colours / (2 * self.beta**2))
        smoothness = torch.exp(-place / (2 * self.gamma**2)).expand_as(appearance)
        kernels = torch.stack([appearance, smoothness], dim=1) * (there * middle)[:, None]
        normalized: Tensor = kernels / kernels.sum(dim=2, keepdim=True).clamp_min(1e-12)
        return normalized

    def _filtered(self, beliefs: Tensor, kernels: Tensor) -> Tensor:
        """Return what each kernel lets a pixel hear (B, 2, K, H, W)."""
        return torch.einsum("bkdhw,bmdhw->bmkhw", self._windows(beliefs), kernels)

    def _windows(self, values: Tensor) -> Tensor:
        """Return the values around each pixel, 0 outside of the image, (B, C, D, H, W)."""
        batch, channels, height, width = values.shape
        size = 2 * self.radius + 1
        around = functional.unfold(values, size, padding=self.radius)
        return around.view(batch, channels, size**2, height, width)

    def _distances(self, image: Tensor) -> Tensor:
        """Return the squared distance of each place in a window from its middle (D,)."""
        steps = torch.arange(-self.radius, self.radius + 1, device=image.device)
        return (steps[:, None].square() + steps[None].square()).flatten()


class UNet(nn.Module):
    """Encoder and decoder of convolutions with skips between (Ronneberger et al. 2015)."""

    def __init__(self, classes: int, *, depth: int = 5, width: int = 16, channels: int = 3) -> None:
        """Make one of ``depth`` levels, the first of ``width`` channels, doubled at each."""
        super().__init__()
        widths = [width * 2**level for level in range(depth)]
        before = [channels, *widths[:-1]]
        self.down = nn.ModuleList(_convolutions(a, b) for a, b in zip(before, widths))
        self.rise = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths)
        )
        self.up = nn.ModuleList(_convolutions(2 * a, a) for a in widths[:-1])
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, K, H, W) of an image (B, C, H, W), H and W multiples of 2^(depth-1)."""
        x, skips = image, []
        for level, down in enumerate(self.down):
            x = down(functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for level in range(len(self.up) - 1, -1, -1):
            x = self.up[level](torch.cat([skips[level], self.rise[level](x)], dim=1))
        logits: Tensor = self.classify(x)
        return logits


class UNetCRF(nn.Module):
    """A UNet whose logits the CRF refines."""

    def __init__(self, unet: UNet, crf: CRFasRNN) -> None:
        """Put one behind the other."""
        super().__init__()
        self.unet, self.crf = unet, crf

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, K, H, W)."""
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
    """Return the segmentation problem: one batch of pets, or of shapes made on the spot.

    The metrics ``test loss`` and ``pixel accuracy``, the share of pixels labelled rightly, are
    those of as many pictures that are for testing.

    Args:
        data: folder of Oxford-IIIT Pet, see :class:`Pets`; without one, ellipses before a noisy
            ground.
        size: of the images, a multiple of 2^(depth - 1).
        images: in the batch.
        depth: levels of the UNet.
        width: its channels at the first level.
        radius: of the CRF's window.
        seed: of the parameters and of the choice of images.
    """
    depth = checks.integer(depth, name="depth", minimum=1)
    width = checks.integer(width, name="width", minimum=1)
    radius = checks.integer(radius, name="radius", minimum=1)
    images = checks.integer(images, name="images", minimum=1)
    size = checks.integer(size, name="size", minimum=2 ** (depth - 1))
    if size % 2 ** (depth - 1):
        raise ValueError(f"size must be a multiple of {2 ** (depth - 1)}, got {size}")
    seed = checks.integer(seed, name="seed", minimum=0)
    batch = _some(segmentation_set(data, "trainval", size), images, seed)
    unseen = _some(segmentation_set(data, "test", size), images, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = UNetCRF(UNet(CLASSES, depth=depth, width=width), CRFasRNN(CLASSES, radius=radius))

    @torch.no_grad()
    def metrics(model: nn.Module) -> dict[str, float]:
        pictures, labels = match_batch(unseen, model)
        logits = model(pictures)
        right = (logits.argmax(1) == labels).float().mean()
        loss = functional.cross_entropy(logits, labels)
        return {"test loss": float(loss), "pixel accuracy": float(right)}

    name = f"UNet with CRF-RNN, {'pets' if data else 'shapes'}"
    return Problem(model, segmentation_loss, [batch], name=name, metrics=metrics)


def segmentation_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the mean cross-entropy over all pixels."""
    return functional.cross_entropy(model(batch[0]), batch[1])


def segmentation_set(data: str, split: Split, size: int) -> Dataset[Example]:
    """Return pictures (3, S, S), 0 to 1, with labels (S, S): 0 the pet, 1 the ground, 2 the border.

    Args:
        data: folder of Oxford-IIIT Pet; without one, shapes that are the same in each call.
        split: ``trainval`` or ``test``.
        size: S.
    """
    if data:
        return Pets(data, split, size)
    return TensorDataset(*shapes(size, _SHAPES[split], seed=list(_SHAPES).index(split)))


def shapes(size: int, images: int, seed: int) -> Example:
    """Return pictures (N, 3, S, S), 0 to 1, of ellipses before a ground, and labels (N, S, S)."""
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
    share = (level < 1).float()[:, None]
    clean = share * colours[:, 0, :, None, None] + (1 - share) * colours[:, 1, :, None, None]
    noise = 0.2 * torch.randn(images, 3, size, size, generator=generator)
    return (clean + noise).clamp(0, 1), labels


class Pets(Dataset[Example]):
    """Oxford-IIIT Pet (Parkhi et al. 2012), read picture by picture from its folder.

    The folder holds ``images/NAME.jpg``, ``annotations/trimaps/NAME.png``, whose values are 1 the
    pet, 2 the ground, 3 the border, and ``annotations/trainval.txt`` and ``test.txt``, whose lines
    begin with the names.
    """

    def __init__(self, folder: str, split: Split, size: int) -> None:
        """Look for the pictures of a split, which are scaled to ``size``.

        Raises:
            FileNotFoundError: if the folder lacks the list of names, a picture or a trimap.
        """
        annotations = Path(folder) / "annotations"
        listed = annotations / f"{split}.txt"
        if not listed.is_file():
            raise FileNotFoundError(
                f"data must be the folder of Oxford-IIIT Pet, and {listed} is not there"
            )
        names = [line.split()[0] for line in listed.read_text().splitlines() if line.strip()]
        self._size = size
        self._files = [
            (Path(folder) / "images" / f"{name}.jpg", annotations / "trimaps" / f"{name}.png")
            for name in names
        ]
        missing = [path for pair in self._files for path in pair if not path.is_file()]
        if not names:
            raise ValueError(f"{listed} must name pictures, and is empty")
        if missing:
            raise FileNotFoundError(
                f"data must be the folder of Oxford-IIIT Pet, and {len(missing)} files of its "
                f"{split}.txt are not there, such as {missing[0]}"
            )

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._files)

    def __getitem__(self, index: int) -> Example:
        """Return a picture and its labels."""
        from PIL import Image

        shape = (self._size, self._size)
        with Image.open(self._files[index][0]) as picture, Image.open(self._files[index][1]) as map:
            scaled = picture.convert("RGB").resize(shape, Image.Resampling.BILINEAR)
            marked = map.resize(shape, Image.Resampling.NEAREST)
            pixels = torch.from_numpy(np.array(scaled)).permute(2, 0, 1) / 255
            return pixels, torch.from_numpy(np.array(marked)).long() - 1


def _some(examples: Any, count: int, seed: int) -> Example:
    """Return some of a set, chosen by a seed, as one batch."""
    if len(examples) < count:
        raise ValueError(f"images must be at most as many as there are, {len(examples)}")
    chosen = np.random.default_rng(seed).choice(len(examples), count, replace=False)
    pictures, labels = zip(*(examples[i] for i in sorted(chosen.tolist())))
    return torch.stack(pictures), torch.stack(labels)


def _convolutions(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )
