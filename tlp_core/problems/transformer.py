"""Transformers: grokking of modular addition, and a character GPT.

Attention is computed from matrix products. The fused kernels of ``scaled_dot_product_attention``
have no second derivative, and Hessian directions need one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tlp_core import checks
from tlp_core.model_state import limit_threads
from tlp_core.problem import Problem, match_batch
from tlp_core.problems.texts import read_text

_BATCH_SEQUENCES = 512
"""Largest number of sequences in a batch."""

_VALIDATION_SEQUENCES = 256
"""Number of sequences on which the validation loss is evaluated."""


class Attention(nn.Module):
    """Multi-head attention, softmax(QKᵀ / √d) V (Vaswani et al. 2017, section 3.2)."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        """Create an attention layer.

        Args:
            width: number of features, a multiple of ``heads``.
            heads: number of heads.
            causal: each position attends only to itself and to earlier positions.
        """
        super().__init__()
        self.heads, self.causal = heads, causal
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (B, T, width) of an input (B, T, width)."""
        batch, length, width = x.shape
        parts = self.queries_keys_values(x).view(batch, length, 3, self.heads, width // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        scores = queries @ keys.transpose(-1, -2) / math.sqrt(width // self.heads)
        if self.causal:
            future = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
            scores = scores.masked_fill(future, float("-inf"))
        mixed = (scores.softmax(dim=-1) @ values).transpose(1, 2).reshape(batch, length, width)
        attended: Tensor = self.out(mixed)
        return attended


class Block(nn.Module):
    """Transformer block: attention and a feed-forward layer, each with a residual connection."""

    def __init__(self, width: int, heads: int, *, causal: bool, norm: bool, gelu: bool) -> None:
        """Create a block.

        Args:
            width: number of features, a multiple of ``heads``.
            heads: number of heads of the attention.
            causal: use causal attention.
            norm: apply layer norm before the attention and before the feed-forward layer.
            gelu: use GELU as activation, else ReLU.
        """
        super().__init__()
        make_norm: Callable[[], nn.Module] = (lambda: nn.LayerNorm(width)) if norm else nn.Identity
        self.norm_attention, self.norm_feed = make_norm(), make_norm()
        self.attention = Attention(width, heads, causal=causal)
        activation = nn.GELU() if gelu else nn.ReLU()
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), activation, nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (B, T, width) of an input (B, T, width)."""
        x = x + self.attention(self.norm_attention(x))
        output: Tensor = x + self.feed(self.norm_feed(x))
        return output


class Transformer(nn.Module):
    """Decoder-only transformer with learned positions."""

    def __init__(
        self,
        vocabulary: int,
        length: int,
        *,
        width: int,
        layers: int,
        heads: int,
        outputs: int | None = None,
        causal: bool = True,
        norm: bool = True,
        gelu: bool = True,
    ) -> None:
        """Create a transformer.

        Args:
            vocabulary: number of different tokens.
            length: largest number of tokens in a sequence.
            width: width of the residual stream, >= 1, a multiple of ``heads``.
            layers: number of blocks, >= 1.
            heads: number of heads per block, >= 1.
            outputs: number of logits per position. Default: ``vocabulary``.
            causal: use causal attention. Default: True.
            norm: use layer norm. Default: True.
            gelu: use GELU as activation, else ReLU. Default: True.

        Raises:
            ValueError: if a size is below 1, or the width is not a multiple of ``heads``.
            TypeError: if a size is not an integer.
        """
        super().__init__()
        for name, value in (("width", width), ("layers", layers), ("heads", heads)):
            checks.integer(value, name=name, minimum=1)
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, got {width} and {heads}")
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.zeros(length, width))
        self.blocks = nn.Sequential(
            *(Block(width, heads, causal=causal, norm=norm, gelu=gelu) for _ in range(layers))
        )
        self.norm: nn.Module = nn.LayerNorm(width) if norm else nn.Identity()
        self.unembed = nn.Linear(width, outputs or vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (B, T, outputs) of tokens (B, T)."""
        x = self.tokens(tokens) + self.positions[: tokens.shape[1]]
        logits: Tensor = self.unembed(self.norm(self.blocks(x)))
        return logits


def modular_addition(
    p: int = 113,
    width: int = 128,
    heads: int = 4,
    layers: int = 1,
    train_fraction: float = 0.3,
    seed: int = 0,
) -> Problem:
    """Return the grokking problem a + b mod p, trained on a fraction of all pairs.

    The task is that of Power et al. 2022. The defaults give the transformer of Nanda et al. 2023,
    "Progress measures for grokking via mechanistic interpretability", section 3: one layer, no
    layer norm, ReLU, 226,688 parameters for p = 113. The loss is the loss on the training pairs,
    with logits in float64: in float32, the rounding of a log-softmax of large logits makes the
    training loss jump by orders of magnitude (Nanda et al. compute it in float64, too).

    The pairs (a, b) and (b, a) have the same answer, so that a network that ignores the order knows
    a test pair whose mirror was trained on. The metrics ``test loss`` and ``test accuracy`` are of
    the test pairs whose mirror was not trained on; ``mirrored test accuracy`` is of the others, and
    ``training accuracy`` of the training pairs.

    Args:
        p: the modulus, >= 3. Default: 113.
        width: width of the residual stream, >= 1, a multiple of ``heads``. Default: 128.
        heads: number of heads of the attention, >= 1. Default: 4.
        layers: number of blocks, >= 1. Default: 1.
        train_fraction: fraction of the p² pairs that is used for training, between 0 and 1.
            Default: 0.3.
        seed: random seed of the parameters and of the choice of training pairs, >= 0. Default: 0.

    Returns:
        The problem, with one batch of all training pairs.

    Raises:
        ValueError: if a number is out of its range, or ``train_fraction`` leaves no pair for
            training or for testing.
        TypeError: if a number is not an integer, or ``train_fraction`` is not a number.
    """
    p = checks.integer(p, name="p", minimum=3)
    generator = torch.Generator().manual_seed(checks.integer(seed, name="seed", minimum=0))
    if not 0 < checks.real(train_fraction, name="train_fraction") < 1:
        raise ValueError(f"train_fraction must be between 0 and 1, got {train_fraction:g}")
    pairs = torch.cartesian_prod(torch.arange(p), torch.arange(p))
    tokens = torch.cat([pairs, torch.full((len(pairs), 1), p)], dim=1)  # a, b, =
    answers = pairs.sum(1) % p
    order = torch.randperm(len(pairs), generator=generator)
    train, held_out = order.tensor_split([round(train_fraction * len(pairs))])
    mirror_is_trained = torch.isin(pairs[held_out, 1] * p + pairs[held_out, 0], train)
    test, mirrored = held_out[~mirror_is_trained], held_out[mirror_is_trained]
    if not len(train) or not len(test):
        raise ValueError(
            f"train_fraction must leave pairs for training, and for testing pairs whose mirror is "
            f"not trained on, got {train_fraction:g} of {len(pairs)} pairs"
        )
    model = Transformer(
        p + 1, 3, width=width, layers=layers, heads=heads, outputs=p, norm=False, gelu=False
    )
    _initialize(model, generator)

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0])[:, -1].double(), batch[1])

    def accuracy(model: nn.Module, chosen: Tensor) -> float:
        inputs, targets = match_batch((tokens[chosen], answers[chosen]), model)
        return float((model(inputs)[:, -1].argmax(1) == targets).double().mean())

    @torch.no_grad()
    def metrics(model: nn.Module) -> dict[str, float]:
        unknown = match_batch((tokens[test], answers[test]), model)
        return {
            "test loss": float(loss(model, unknown)),
            "test accuracy": accuracy(model, test),
            "mirrored test accuracy": accuracy(model, mirrored),
            "training accuracy": accuracy(model, train),
        }

    batches = [(tokens[train], answers[train])]
    return Problem(model, loss, batches, name=f"addition mod {p}", metrics=metrics)


def character_gpt(
    text: str = "",
    width: int = 128,
    layers: int = 4,
    heads: int = 4,
    length: int = 64,
    sequences: int = 256,
    seed: int = 0,
) -> Problem:
    """Return a GPT that predicts the next character, of 0.8 million parameters by default.

    The loss is evaluated on sequences from the first nine tenths of a text. The metric
    ``validation loss`` is evaluated on 256 sequences from the rest.

    Args:
        text: path of a text file in UTF-8. Default: empty, which selects the help texts of Python
            (``pydoc_data.topics``).
        width: width of the residual stream, >= 1, a multiple of ``heads``. Default: 128.
        layers: number of blocks, >= 1. Default: 4.
        heads: number of heads of the attention, >= 1. Default: 4.
        length: number of characters in a sequence, >= 1. Default: 64.
        sequences: number of sequences on which the loss is evaluated, >= 1. Default: 256.
        seed: random seed of the parameters and of the start of each sequence, >= 0. Networks of
            different sizes have the same sequences. Default: 0.

    Returns:
        The problem, with batches of up to 512 sequences.

    Raises:
        ValueError: if a number is out of its range, the text is not UTF-8, or it is too short.
        TypeError: if a number is not an integer.
        FileNotFoundError: if the text file does not exist.
    """
    generator = torch.Generator().manual_seed(checks.integer(seed, name="seed", minimum=0))
    length = checks.integer(length, name="length", minimum=1)
    sequences = checks.integer(sequences, name="sequences", minimum=1)
    codes, vocabulary = encoded(text)
    split = len(codes) * 9 // 10
    if split < 2 * length or len(codes) - split < 2 * length:
        raise ValueError(f"the text must have at least {20 * length} characters, got {len(codes)}")
    model = Transformer(vocabulary, length, width=width, layers=layers, heads=heads)
    _initialize(model, generator)
    starts = torch.Generator().manual_seed(seed)  # networks of all sizes see the same sequences
    validation = _sequences(codes[split:], length, _VALIDATION_SEQUENCES, starts)
    train = _sequences(codes[:split], length, sequences, starts)

    @torch.no_grad()
    def metrics(model: nn.Module) -> dict[str, float]:
        batches = match_batch(torch.split(validation, _BATCH_SEQUENCES), model)
        losses = [next_token_loss(model, batch) for batch in batches]
        return {"validation loss": float(torch.stack(losses).mean())}

    name = f"character GPT, {layers} layers of {width}"
    batches = list(torch.split(train, _BATCH_SEQUENCES))
    return Problem(model, next_token_loss, batches, name=name, metrics=metrics)


def next_token_loss(model: nn.Module, batch: Tensor) -> Tensor:
    """Return the mean cross-entropy of the next tokens of sequences (B, T + 1) of tokens."""
    logits = model(batch[:, :-1])
    return nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def encoded(text: str) -> tuple[Tensor, int]:
    """Return a text as codes of its characters.

    Args:
        text: path of a text file in UTF-8; empty for the help texts of Python.

    Returns:
        The code of each character, (T,) int64 from 0, and the number of different characters.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is not UTF-8.
    """
    content = read_text(text)
    characters = sorted(set(content))
    code = {character: i for i, character in enumerate(characters)}
    return torch.tensor([code[character] for character in content]), len(characters)


def adam_optimizer(
    problem: Problem, *, learning_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """Return AdamW for a transformer.

    Args:
        problem: the problem, whose trainable parameters are optimized.
        learning_rate: learning rate after the warm-up of :func:`adam_steps`.
        weight_decay: decoupled weight decay.
    """
    parameters = [p for p in problem.model.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        parameters, lr=learning_rate, weight_decay=weight_decay, betas=(0.9, 0.98)
    )


def adam_steps(
    problem: Problem,
    optimizer: torch.optim.AdamW,
    steps: int,
    *,
    start: int = 0,
    batches: Callable[[int], Any] | None = None,
) -> Iterator[tuple[int, float]]:
    """Train by AdamW, and yield each step with its loss before the parameters change.

    The learning rate is reached by a linear warm-up over ten steps.

    Args:
        problem: the problem. Its model is changed.
        optimizer: as :func:`adam_optimizer` returns it, or after ``start`` steps.
        steps: number of training steps.
        start: first step. Default: 0.
        batches: function that returns the batch of a step. Default: the first batch of the problem
            at each step.

    Yields:
        (step, loss) for the steps ``start`` to ``steps``, both included.
    """
    learning_rate = optimizer.defaults["lr"]
    own_batches = list(problem.batches)
    problem.model.train()
    with limit_threads(problem.model):
        for step in range(start, steps + 1):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * min(1.0, (step + 1) / 10)
            optimizer.zero_grad()
            loss = problem.loss(problem.model, batches(step) if batches else own_batches[0])
            yield step, loss.item()
            if step < steps:
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()


def _sequences(codes: Tensor, length: int, count: int, generator: torch.Generator) -> Tensor:
    starts = torch.randint(len(codes) - length, (count,), generator=generator)
    return torch.stack([codes[start : start + length + 1] for start in starts.tolist()])


def _initialize(model: Transformer, generator: torch.Generator) -> None:
    """Draw weights from a normal distribution with standard deviation 1 / √width."""
    width = model.positions.shape[1]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 1 / math.sqrt(width), generator=generator)
            elif name.endswith("bias"):
                parameter.zero_()
