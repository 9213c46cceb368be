"""Groups of a network's parameters that are looked at one by one: blocks and their parts."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

_PARTS = {
    "attention": ("attention", "attn"),
    "feed-forward": ("mlp", "feed", "ffn", "moe", "expert", "fc1", "fc2"),
}
"""Parts of a block, by what their names or classes contain."""


def parameter_groups(model: nn.Module) -> dict[str, str]:
    """Return the groups of a network's trainable parameters, in the order of the network.

    Args:
        model: the network. Its blocks are the modules of its longest list of modules of one class.

    Returns:
        The pattern of the names of the parameters of each group, as the option ``parameters`` takes
        it, by the name of the group: ``embedding``, ``block 0``, ``block 0 attention``, ``block 0
        feed-forward``, …. A network without such a list has a group for each of its own modules.
    """
    groups = {"embedding": _embeddings(model), **_blocks(model)}
    if not any(name.startswith("block") for name in groups):
        groups = {name: f"{name}.*" for name, _ in model.named_children()}
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    return {
        group: pattern
        for group, pattern in groups.items()
        if any(
            name.startswith(part.strip("*")) for part in pattern.split(",") for name in trainable
        )
    }


def _embeddings(model: nn.Module) -> str:
    names = [name for name, m in model.named_modules() if isinstance(m, nn.Embedding)]
    return ",".join(f"{name}.*" for name in names) or "no parameters"


def _blocks(model: nn.Module) -> Mapping[str, str]:
    """Return the blocks and their parts."""
    lists = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList | nn.Sequential)
        and len(module) > 1
        and len({type(block) for block in module}) == 1
    }
    if not lists:
        return {}
    place, blocks = max(lists.items(), key=lambda item: len(item[1]))
    groups = {}
    for number, block in enumerate(blocks):
        prefix = f"{place}.{number}".lstrip(".")
        groups[f"block {number}"] = f"{prefix}.*"
        for part, words in _PARTS.items():
            inside = [
                f"{prefix}.{name}.*"
                for name, child in block.named_children()
                if _is_part(name, child, words)
            ]
            if inside:
                groups[f"block {number} {part}"] = ",".join(inside)
    return groups


def _is_part(name: str, module: nn.Module, words: tuple[str, ...]) -> bool:
    """Return whether a module is a part of a block, and not the norm before it."""
    text = f"{name} {type(module).__name__}".lower()
    return "norm" not in text and any(word in text for word in words)
