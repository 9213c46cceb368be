"""UNet with a CRF-RNN layer behind it, for segmentation (Avaylon et al. 2022).

The CRF's mean-field iterations are layers of the network (Zheng et al. 2015, "Conditional random
fields as recurrent neural networks", section 4), so that kernels' weights and compatibilities are
learned with the rest, end to end.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tlp_core import checks
from tlp_core.problem import Problem

CLASSES = 3
"""Pet, background and border, as in Oxford-IIIT Pet."""


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

    Args:
        data: folder of Oxford-IIIT Pet, with ``images`` and ``annotations/trimaps``; without one,
            ellipses before a noisy ground.
        size: of the images, a multiple of 2^(depth - 1).
        images: in the batch.
        depth: levels of the UNet.
        width: its channels at the first level.
        radius: of the CRF's window.
        seed: of the parameters and of the shapes; it chooses the pets, too.
    """
    size = checks.integer(size, name="size", minimum=2 ** (depth - 1))
    if size % 2 ** (depth - 1):
        raise ValueError(f"size must be a multiple of {2 ** (depth - 1)}, got {size}")
    seed = checks.integer(seed, name="seed", minimum=0)
    pictures, labels = pets(data, size, images, seed) if data else shapes(size, images, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = UNetCRF(UNet(CLASSES, depth=depth, width=width), CRFasRNN(CLASSES, radius=radius))

    @torch.no_grad()
    def metrics(model: nn.Module) -> dict[str, float]:
        right = model(pictures).argmax(1) == labels
        return {"pixel accuracy": float(right.float().mean())}

    name = f"UNet with CRF-RNN, {'pets' if data else 'shapes'}"
    return Problem(model, segmentation_loss, [(pictures, labels)], name=name, metrics=metrics)


def segmentation_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the mean cross-entropy over all pixels."""
    return functional.cross_entropy(model(batch[0]), batch[1])


def shapes(size: int, images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return pictures (N, 3, S, S), 0 to 1, of ellipses before a ground, and labels (N, S, S).

    Labels are those of Oxford-IIIT Pet: 0 the ellipse, 1 the ground, 2 the border between them.
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
    share = (level < 1).float()[:, None]
    clean = share * colours[:, 0, :, None, None] + (1 - share) * colours[:, 1, :, None, None]
    noise = 0.2 * torch.randn(images, 3, size, size, generator=generator)
    return (clean + noise).clamp(0, 1), labels


def pets(folder: str, size: int, images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return pictures and labels of Oxford-IIIT Pet, as :func:`shapes`.

    Args:
        folder: with ``images/NAME.jpg`` and ``annotations/trimaps/NAME.png``, whose values are 1
            the pet, 2 the ground, 3 the border.
        size: to which pictures are scaled.
        images: how many.
        seed: chooses which.

    Raises:
        FileNotFoundError: if there are fewer pictures with trimaps.
    """
    from PIL import Image

    trimaps = sorted((Path(folder) / "annotations" / "trimaps").glob("[!.]*.png"))
    pairs = [(Path(folder) / "images" / f"{path.stem}.jpg", path) for path in trimaps]
    pairs = [(picture, trimap) for picture, trimap in pairs if picture.is_file()]
    if len(pairs) < images:
        raise FileNotFoundError(
            f"data must be the folder of Oxford-IIIT Pet with at least {images} pictures in images "
            f"and annotations/trimaps, found {len(pairs)} in {folder}"
        )
    chosen = np.random.default_rng(seed).choice(len(pairs), images, replace=False)
    pictures, labels = [], []
    for i in sorted(chosen.tolist()):
        with Image.open(pairs[i][0]) as picture, Image.open(pairs[i][1]) as trimap:
            scaled = picture.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
            marked = trimap.resize((size, size), Image.Resampling.NEAREST)
            pictures.append(torch.from_numpy(np.array(scaled)).permute(2, 0, 1) / 255)
            labels.append(torch.from_numpy(np.array(marked)).long() - 1)
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
