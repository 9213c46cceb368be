"""Words that select parts of an experiment, such as ``seed=0,1`` and ``4D=41``."""

from __future__ import annotations

from collections.abc import Sequence


def named_values(option: str, example: str, words: Sequence[str]) -> dict[str, str]:
    """Return values by name; those of a repeated name are joined by commas.

    Args:
        option: name of the option, for messages.
        example: one right word, for messages.
        words: the words, each NAME=VALUE.

    Raises:
        ValueError: if a word is not NAME=VALUE.
    """
    pairs: dict[str, list[str]] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise ValueError(f"{option} must be NAME=VALUE, such as {example}, got {word!r}")
        pairs.setdefault(name, []).append(value)
    return {name: ",".join(values) for name, values in pairs.items()}


def resolutions_of(words: Sequence[str]) -> dict[str, int]:
    """Return the number of points along each direction, by name of the look.

    Args:
        words: the words, each LOOK=N.

    Raises:
        ValueError: if a word is not LOOK=N.
    """
    return {
        look: _integer(look, text)
        for look, text in named_values("resolution", "4D=41", words).items()
    }


def _integer(look: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"resolution of {look} must be an integer, got {text!r}") from error
