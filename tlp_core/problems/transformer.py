"""Small transformers: grokking modular addition, a character GPT, and Hugging Face's causal LMs.

Attention is written out: the fused kernels of ``scaled_dot_product_attention`` have no second
derivative, which Hessian directions need.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tlp_core import checks
from tlp_core.model_state import limit_threads
from tlp_core.problem import Problem, match_batch

_LOG = logging.getLogger(__name__)

_CHUNK = 512
"""Sequences in one batch of a loss."""

_VALIDATED = 256
"""Sequences on which a validation loss is taken."""


class Attention(nn.Module):
    """Multi-head attention, softmax(QKᵀ / √d) V (Vaswani et al. 2017, section 3.2)."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        """Make one of a width that the number of heads divides."""
        super().__init__()
        self.heads, self.causal = heads, causal
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return what each position attends to, (B, T, width)."""
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
    """Attention and a feed-forward layer, each added to its input."""

    def __init__(self, width: int, heads: int, *, causal: bool, norm: bool, gelu: bool) -> None:
        """Make one, with layer norm before both parts or without."""
        super().__init__()
        make_norm: Callable[[], nn.Module] = (lambda: nn.LayerNorm(width)) if norm else nn.Identity
        self.norm_attention, self.norm_feed = make_norm(), make_norm()
        self.attention = Attention(width, heads, causal=causal)
        activation = nn.GELU() if gelu else nn.ReLU()
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), activation, nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, T, width)."""
        x = x + self.attention(self.norm_attention(x))
        fed: Tensor = x + self.feed(self.norm_feed(x))
        return fed


class Transformer(nn.Module):
    """Tokens in, logits of the next token out."""

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
        """Make one of ``layers`` blocks for sequences of up to ``length`` tokens."""
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
        """Return logits (B, T, outputs)."""
        x = self.tokens(tokens) + self.positions[: tokens.shape[1]]
        logits: Tensor = self.unembed(self.norm(self.blocks(x)))
        return logits


def modular_addition(
    p: int = 113,
    width: int = 128,
    heads: int = 4,
    layers: int = 1,
    train_share: float = 0.3,
    seed: int = 0,
) -> Problem:
    """Return grokking: a + b mod p, learned from a share of all pairs (Power et al. 2022).

    The defaults are the transformer of Nanda et al. 2023, "Progress measures for grokking via
    mechanistic interpretability", section 3: one layer, no layer norm, ReLU, 226,688 parameters
    for p = 113. The loss is the training loss; ``test_loss`` and ``test_accuracy`` are metrics.

    Args:
        p: the modulus, >= 3.
        width: of the residual stream.
        heads: of the attention.
        layers: number of blocks.
        train_share: of the p² pairs, 0 to 1.
        seed: of the parameters and of which pairs are for training.
    """
    p = checks.integer(p, name="p", minimum=3)
    generator = torch.Generator().manual_seed(checks.integer(seed, name="seed", minimum=0))
    if not 0 < checks.real(train_share, name="train_share") < 1:
        raise ValueError(f"train_share must lie between 0 and 1, got {train_share:g}")
    pairs = torch.cartesian_prod(torch.arange(p), torch.arange(p))
    tokens = torch.cat([pairs, torch.full((len(pairs), 1), p)], dim=1)  # a, b, =
    answers = pairs.sum(1) % p
    order = torch.randperm(len(pairs), generator=generator)
    known, unknown = order.tensor_split([round(train_share * len(pairs))])
    if not len(known) or not len(unknown):
        raise ValueError(
            f"train_share must leave pairs for training and for testing, got {train_share:g} of "
            f"{len(pairs)} pairs"
        )
    model = Transformer(
        p + 1, 3, width=width, layers=layers, heads=heads, outputs=p, norm=False, gelu=False
    )
    _initialize(model, generator)

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0])[:, -1], batch[1])

    @torch.no_grad()
    def metrics(model: nn.Module) -> dict[str, float]:
        inputs, wanted = match_batch((tokens[unknown], answers[unknown]), model)
        logits = model(inputs)[:, -1]
        right = (logits.argmax(1) == wanted).float().mean()
        test_loss = nn.functional.cross_entropy(logits, wanted)
        return {"test loss": float(test_loss), "test accuracy": float(right)}

    batches = [(tokens[known], answers[known])]
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
    """Return a GPT that predicts characters, 0.8 million parameters by default.

    Args:
        text: a text file; by default Python's own help texts (``pydoc_data.topics``).
        width: of the residual stream.
        layers: number of blocks.
        heads: of the attention.
        length: characters in a sequence.
        sequences: how many the loss is taken on, from the first nine tenths of the text; 256 from
            the rest give the metric ``validation loss``.
        seed: of the parameters and of where sequences start.
    """
    generator = torch.Generator().manual_seed(checks.integer(seed, name="seed", minimum=0))
    length = checks.integer(length, name="length", minimum=1)
    sequences = checks.integer(sequences, name="sequences", minimum=1)
    codes, vocabulary = encoded(text)
    part = len(codes) * 9 // 10
    if part < 2 * length or len(codes) - part < 2 * length:
        raise ValueError(f"the text must have at least {20 * length} characters, got {len(codes)}")
    model = Transformer(vocabulary, length, width=width, layers=layers, heads=heads)
    _initialize(model, generator)
    seen = _sequences(codes[:part], length, sequences, generator)
    unseen = _sequences(codes[part:], length, _VALIDATED, generator)

    @torch.no_grad()
    def metrics(model: nn.Module) -> dict[str, float]:
        parts = match_batch(torch.split(unseen, _CHUNK), model)
        losses = [next_token_loss(model, part) for part in parts]
        return {"validation loss": float(torch.stack(losses).mean())}

    name = f"character GPT, {layers} layers of {width}"
    return Problem(
        model, next_token_loss, list(torch.split(seen, _CHUNK)), name=name, metrics=metrics
    )


def next_token_loss(model: nn.Module, batch: Tensor) -> Tensor:
    """Return the mean cross-entropy of each next token of sequences (B, T + 1)."""
    logits = model(batch[:, :-1])
    return nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def encoded(text: str) -> tuple[Tensor, int]:
    """Return the characters of a text file, or of Python's help texts, as numbers; how many kinds.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    content = _text_of(text)
    kinds = sorted(set(content))
    number = {kind: i for i, kind in enumerate(kinds)}
    return torch.tensor([number[character] for character in content]), len(kinds)


def causal_language_model(
    folder: str, text: str = "", length: int = 128, sequences: int = 32
) -> Problem:
    """Return a causal LM of Hugging Face from a local folder, as ``hf:FOLDER`` names it.

    Args:
        folder: with the model's configuration and weights and, for a text, its tokenizer.
        text: a text file; by default Python's help texts.
        length: tokens in a sequence.
        sequences: at most so many, from the start of the text.

    Raises:
        FileNotFoundError: if there is no such folder or text.
        ValueError: if the text has fewer tokens than one sequence.
    """
    length = checks.integer(length, name="length", minimum=2)
    sequences = checks.integer(sequences, name="sequences", minimum=1)
    if not folder or not Path(folder).is_dir():
        raise FileNotFoundError(f"hf: must name a folder with a model, found none at {folder}")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _LOG.info("attention is evaluated 'eager': the fused kernels have no second derivative")
    model = AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, attn_implementation="eager"
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ids = torch.tensor(tokenizer(_text_of(text))["input_ids"])
    count = min(sequences, len(ids) // length)
    if not count:
        raise ValueError(f"the text must have at least {length} tokens, got {len(ids)}")
    batches = list(ids[: count * length].reshape(-1, 1, length))

    def loss(model: nn.Module, batch: Tensor) -> Tensor:
        answer: Tensor = model(input_ids=batch, labels=batch, use_cache=False).loss
        return answer

    return Problem(model, loss, batches, name=Path(folder).name)


def adam_steps(
    problem: Problem,
    steps: int,
    *,
    learning_rate: float,
    weight_decay: float,
    batches: Callable[[int], Any] | None = None,
) -> Iterator[tuple[int, float]]:
    """Train by AdamW, and yield each step with its loss, before the parameters move.

    Args:
        problem: its model is changed.
        steps: how many.
        learning_rate: warmed up over ten steps.
        weight_decay: decoupled.
        batches: returns the batch of a step; by default the problem's first.
    """
    parameters = [p for p in problem.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=learning_rate, weight_decay=weight_decay, betas=(0.9, 0.98)
    )
    whole = list(problem.batches)
    problem.model.train()
    with limit_threads(problem.model):
        for step in range(steps + 1):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * min(1.0, (step + 1) / 10)
            optimizer.zero_grad()
            loss = problem.loss(problem.model, batches(step) if batches else whole[0])
            yield step, loss.item()
            if step < steps:
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()


def _text_of(text: str) -> str:
    if text and not Path(text).is_file():
        raise FileNotFoundError(f"text must be a file, found none at {text}")
    if text:
        try:
            return Path(text).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"text must be a file in UTF-8, and {text} is not") from error
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def _sequences(codes: Tensor, length: int, count: int, generator: torch.Generator) -> Tensor:
    starts = torch.randint(len(codes) - length, (count,), generator=generator)
    return torch.stack([codes[start : start + length + 1] for start in starts.tolist()])


def _initialize(model: Transformer, generator: torch.Generator) -> None:
    """Draw weights from N(0, 1 / √width), by a generator of one's own."""
    width = model.positions.shape[1]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 1 / math.sqrt(width), generator=generator)
            elif name.endswith("bias"):
                parameter.zero_()
