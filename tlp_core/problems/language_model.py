"""Causal language models of Hugging Face, ``hf:FOLDER``.

The class of the model is the reference: transformers loads each checkpoint, so tied weights, shards
and renamed layers are those of the library. No code of a checkpoint is run.
"""

from __future__ import annotations

import copy
import math
import os
import warnings
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tlp_core import checks
from tlp_core.problem import Problem, State, match_batch
from tlp_core.problems.texts import open_tokens, read_text
from tlp_core.problems.weight_files import (
    folder_of_weights,
    hub_revisions,
    model_folder,
    weight_files,
)
from tlp_core.problems.weights import read_state, stored_precisions, warn_of_half_precision
from tlp_core.version import major_minor

_ATTENTION = ("eager", "sdpa", "flash_attention_2", "flex_attention")
"""Implementations of attention of which ``eager`` has a second derivative."""


_POSITIONS = ("wpe", "embed_positions", "position_embeddings")
"""Names of the modules that have a row for each position; other models compute their positions."""

_HARMLESS = (
    "name_or_path",
    "version",
    "dtype",
    "architectures",
    "token_id",
    "dropout",
    "drop",
    "use_cache",
    "attn_implementation",
    "auto_map",
)
"""Ends of the names of settings that leave the loss of given weights as it is."""

_LOGITS = 2**22
"""Logits of which the loss is evaluated at a time; their logarithms are as large as they are."""


def causal_language_model(
    folder: str,
    text: str = "",
    length: int = 128,
    tokens: int = 4096,
    batch: int = 8,
    seed: int = 0,
    held_out: float = 0.1,
    losses: Mapping[str, str] | None = None,
    attention: str = "eager",
    checkpointing: bool = False,
    revision: str = "",
) -> Problem:
    """Return a causal language model of Hugging Face from a local folder (``hf:FOLDER``).

    The loss is the mean cross-entropy of the next token. The metric ``validation loss`` is that of
    the held-out share of the text.

    Args:
        folder: folder that ``save_pretrained`` or a trainer has written, or a hub's cache
            (``models--org--name``). Weights in half precision are converted to float32.
        text: path of a text file in UTF-8, or of an array of tokens (``.npy``, memory-mapped):
            (T,) for a text, (N, T) for N sequences. Default: empty, which selects the help texts
            of Python.
        length: number of tokens in a sequence, >= 2. Default: 128.
        tokens: number of tokens on which the loss is evaluated, >= ``length``; whole sequences are
            used. Default: 4096.
        batch: number of sequences in a batch, >= 1. Default: 8.
        seed: random seed, >= 0, of the choice of sequences. Default: 0.
        held_out: share of the sequences, the last ones, that is kept for the validation loss, from
            0 (none) to below 1. Default: 0.1.
        losses: further texts or arrays of tokens by name; each gives one more loss at every sample,
            on sequences that depend on its text and the seed only. Default: none.
        attention: ``eager``, ``sdpa``, ``flash_attention_2`` or ``flex_attention``; Hessian
            products by double backward need ``eager``. Default: ``eager``.
        checkpointing: evaluate the blocks again in backward passes instead of keeping their
            activations. Default: False.
        revision: name of a revision in a hub's cache. Default: ``main``, or the only one.

    Returns:
        The problem. Its checkpoints are folders like ``folder``, or files of state dicts.

    Raises:
        FileNotFoundError: if the folder or a file does not exist.
        ValueError: if a number is out of its range, a text is not UTF-8 or has fewer tokens than
            one sequence, a token is not in the vocabulary, or the folder holds no such model.
        TypeError: if a number is not an integer.
    """
    length = checks.integer(length, name="length", minimum=2)
    checks.integer(tokens, name="tokens", minimum=length)
    checks.integer(batch, name="batch", minimum=1)
    checks.integer(seed, name="seed", minimum=0)
    checks.choice(attention, _ATTENTION, name="attention")
    if not 0 <= checks.real(held_out, name="held_out") < 1:
        raise ValueError(f"held_out must be from 0 to below 1, got {held_out:g}")
    for path in (text, *_checked_losses(losses).values()):
        if not isinstance(path, str):
            raise TypeError(f"a text must be the path of a file, got {path!r}")
    place = _resolve(folder, revision)
    model, unused = _load_model(place, attention)
    if unused:
        warnings.warn(
            f"{len(unused)} weights in {place} are not of the model and are ignored, "
            f"first {unused[0]}",
            stacklevel=2,
        )
    _check_length(model, length)
    if checkpointing:
        _checkpoint_blocks(model)
    read = partial(_sequences, place=place, length=length)
    count, vocabulary = tokens // length, _vocabulary_size(model)

    def batches_of(
        sequences: npt.NDArray[Any], rng: np.random.Generator, part: slice = slice(None)
    ) -> list[Tensor]:
        places = range(math.prod(sequences.shape[:2]))[part]
        chosen = places.start + rng.choice(len(places), min(count, len(places)), replace=False)
        rows = sequences[np.divmod(np.sort(chosen), sequences.shape[1])].astype(np.int64)
        if rows.min() < 0 or rows.max() >= vocabulary:
            raise ValueError(
                f"tokens must be from 0 to {vocabulary - 1}, the vocabulary of the model, "
                f"got {rows.min()} to {rows.max()}"
            )
        return list(torch.split(torch.from_numpy(rows), batch))

    sequences = read(text)
    total = math.prod(sequences.shape[:2])
    split = total - int(held_out * total)
    rng = np.random.default_rng(seed)
    validation = batches_of(sequences, rng, slice(split, None)) if split < total else []
    return Problem(
        model,
        next_token_loss,
        batches_of(sequences, rng, slice(split)),
        name=_name_of(Path(folder), revision),
        metrics=_validation_loss(validation),
        other_batches={
            name: batches_of(read(path), np.random.default_rng(seed))  # so no other loss matters
            for name, path in (losses or {}).items()
        },
        read_state=partial(_read_checkpoint, type(model), model.config, unused),
    )


def next_token_loss(model: nn.Module, batch: Tensor) -> Tensor:
    """Return the mean cross-entropy of the next tokens of sequences (B, T).

    The last token is a target only, so nothing is evaluated that the loss ignores.
    """
    logits = model(input_ids=batch[:, :-1], use_cache=False).logits.flatten(0, 1)
    targets, most = batch[:, 1:].flatten(), max(1, _LOGITS // logits.shape[1])
    parts = [
        nn.functional.cross_entropy(part.float(), wanted, reduction="sum")
        for part, wanted in zip(torch.split(logits, most), torch.split(targets, most))
    ]
    return torch.stack(parts).sum() / len(targets)


def _validation_loss(batches: list[Tensor]) -> Callable[[nn.Module], Mapping[str, float]]:
    """Return the metrics of a model: the loss on held-out sequences, if there are any."""

    @torch.no_grad()
    def metrics(model: nn.Module) -> dict[str, float]:
        if not batches:
            return {}
        sizes = [len(batch) for batch in batches]
        each = [float(next_token_loss(model, match_batch(batch, model))) for batch in batches]
        return {"validation loss": float(np.average(each, weights=sizes))}

    return metrics


def _resolve(folder: str, revision: str) -> Path:
    """Return the folder of the model's files."""
    place = Path(folder)
    if not folder or not place.is_dir():
        raise FileNotFoundError(f"hf: must name a folder with a model, found no folder {folder!r}")
    revisions = hub_revisions(place)
    if revision and revision not in revisions:
        raise ValueError(
            f"revision must be one of those in {folder} ({', '.join(revisions) or 'none'}), "
            f"got {revision!r}"
        )
    place = revisions[revision] if revision else model_folder(place)
    if not (place / "config.json").is_file():
        raise FileNotFoundError(
            f"hf: must name a folder with a model, found no config.json in {place}"
        )
    return place


def _name_of(folder: Path, revision: str) -> str:
    name = folder.resolve().name.removeprefix("models--").replace("--", "/")
    return f"{name} {revision}".strip()


def _checked_losses(losses: Mapping[str, str] | None) -> Mapping[str, str]:
    if losses is not None and not isinstance(losses, Mapping):
        raise TypeError(
            f'losses must be texts by name, such as {{"code": "code.txt"}}, got {losses!r}'
        )
    return losses or {}


def _check_length(model: Any, length: int) -> None:
    """Raise a ValueError if sequences are longer than a model that has a row for each position."""
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    most = getattr(model.config, "max_position_embeddings", None)
    if most is not None and not names.isdisjoint(_POSITIONS) and length - 1 > most:
        raise ValueError(
            f"length must be at most {most + 1}, the {most} positions of the model and the last "
            f"target, got {length}"
        )


def _load_model(
    place: Path, attention: str, kind: Any = None, config: Any = None
) -> tuple[nn.Module, list[str]]:
    """Return the model in a folder, in float32 or better, and the names of weights that it has not.

    Args:
        place: folder of the model's files.
        attention: implementation of attention.
        kind: class of the model; default: the one that the folder names.
        config: configuration of the model; default: that of the folder.
    """
    import transformers
    from transformers.utils import logging

    library_log: Any = logging

    kind = kind or transformers.AutoModelForCausalLM
    stored = stored_precisions(place)
    # a configuration may name another precision than that of the files, which would round them
    precision = "dtype" if major_minor(transformers.__version__) >= (4, 56) else "torch_dtype"
    options = {precision: torch.float64 if torch.float64 in stored else torch.float32}
    if config is not None:
        options["config"] = copy.deepcopy(config)
    shows_progress = library_log.is_progress_bar_enabled()
    library_log.disable_progress_bar()
    try:
        model, report = kind.from_pretrained(
            place,
            local_files_only=True,
            trust_remote_code=False,
            attn_implementation=attention,
            output_loading_info=True,
            **options,
        )
    except Exception as error:
        # the library raises many kinds of errors for damaged files and other architectures
        reason = str(error).strip().splitlines() or [type(error).__name__]
        if "trust_remote_code" in str(error):
            reason = [
                "its model needs code of its own, and no code of a checkpoint is run; load it in a "
                "problem file"
            ]
        raise ValueError(
            f"{place} must hold a causal language model that transformers loads: {reason[0][:300]}"
        ) from error
    finally:
        if shows_progress:
            library_log.enable_progress_bar()
    missing = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if missing:
        raise ValueError(
            f"{place} must hold all weights of the model, and lacks {len(missing)}, "
            f"first {missing[0]}"
        )
    warn_of_half_precision(stored)
    return model, sorted(map(str, report["unexpected_keys"]))


def _read_checkpoint(
    kind: Any, config: Any, ignored: Collection[str], path: str | os.PathLike[str]
) -> State:
    """Return the state dict in a checkpoint: a folder, a hub's cache, or a file of a state dict.

    Args:
        kind: class of the model.
        config: configuration of the model.
        ignored: names of weights that are not of the model and may be in the checkpoint.
        path: the checkpoint.
    """
    folder = model_folder(folder_of_weights(Path(path)) or Path(path))
    if not folder.is_dir():
        return read_state(path)
    if not weight_files(folder):
        raise FileNotFoundError(f"a checkpoint must hold weights, found none in {folder}")
    _check_configuration(folder, config)
    model, unused = _load_model(folder, config._attn_implementation, kind, config)
    if unknown := sorted(set(unused) - set(ignored)):
        raise ValueError(
            f"{folder} must hold the weights of the model only, and has {len(unknown)} others, "
            f"first {unknown[0]}"
        )
    return model.state_dict()


def _check_configuration(folder: Path, config: Any) -> None:
    """Raise a ValueError if a checkpoint is of a model that computes another loss."""
    if not (folder / "config.json").is_file():
        return
    try:
        own = type(config).from_pretrained(folder, local_files_only=True).to_dict()
    except Exception as error:
        # the library raises many kinds of errors for damaged files
        raise ValueError(
            f"{folder / 'config.json'} must be a configuration, and is damaged "
            f"({type(error).__name__})"
        ) from error
    expected = config.to_dict()
    for name in sorted(own.keys() & expected.keys()):
        if not name.endswith(_HARMLESS) and own[name] != expected[name]:
            raise ValueError(
                f"{folder} must have the configuration of the model, and has {name} = {own[name]} "
                f"instead of {expected[name]}; sample its landscape as a model of its own"
            )


def _sequences(text: str, *, place: Path, length: int) -> npt.NDArray[Any]:
    """Return the sequences of a text or an array of tokens, (rows, sequences of a row, length).

    They are a view: an array of any size stays on the disk. A text is one row.
    """
    tokens = open_tokens(text) if Path(text).suffix == ".npy" else _tokenized(text, place)
    if not tokens.size or tokens.shape[-1] < length:
        of_each = "each sequence of the array" if tokens.ndim == 2 else "the text"
        found = tokens.shape[-1] if tokens.size else 0
        raise ValueError(f"{of_each} must have at least {length} tokens, got {found}")
    return sliding_window_view(np.atleast_2d(tokens), length, axis=1)[:, ::length]


def _tokenized(text: str, place: Path) -> npt.NDArray[Any]:
    """Return the tokens of a text by the tokenizer of a model, (T,) integers."""
    from transformers import AutoTokenizer

    content, problem = read_text(text), ""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            place, local_files_only=True, trust_remote_code=False
        )
        tokens = tokenizer(content, add_special_tokens=False, verbose=False)["input_ids"]
    except Exception as error:
        # the library raises many kinds of errors where it finds no tokenizer
        tokens, problem = [], f" ({type(error).__name__})"
    if content and not tokens:  # some classes have no vocabulary then
        raise ValueError(
            f"a text needs the tokenizer of the model, and {place} has none that transformers "
            f"loads{problem}; copy it there, or set text to an array of tokens, tokens.npy"
        )
    return np.array(tokens, dtype=np.int64)


def _vocabulary_size(model: Any) -> int:
    return int(model.get_input_embeddings().num_embeddings)


def _checkpoint_blocks(model: nn.Module) -> None:
    """Let the blocks keep no activations for the backward pass.

    The blocks are the longest list of modules. The model's own method does this in training only.
    """
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    for block in max(lists, key=len):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
