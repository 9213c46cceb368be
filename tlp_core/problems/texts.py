"""Texts and arrays of tokens, on which language models are evaluated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def read_text(text: str) -> str:
    """Return the content of a text file.

    Args:
        text: path of a file in UTF-8; empty for the help texts of Python (``pydoc_data.topics``).

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is not UTF-8.
    """
    if text and not Path(text).is_file():
        raise FileNotFoundError(f"text must be a file, found no file {text!r}")
    if text:
        try:
            return Path(text).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"text must be a file in UTF-8, but {text} is not") from error
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def open_tokens(path: str) -> npt.NDArray[Any]:
    """Return an array of tokens in a ``.npy`` file, mapped into memory.

    Returns:
        Integers, (T,) for a text, or (N, T) for N sequences.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is damaged, or holds another array.
    """
    try:
        tokens: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"text must be a file, found no file {path!r}") from None
    except Exception as error:
        # the parser of headers raises many kinds of errors
        raise ValueError(
            f"{path} must be an array of tokens in NumPy's format, and is damaged or none "
            f"({type(error).__name__})"
        ) from error
    if tokens.dtype.kind not in "iu" or tokens.ndim not in (1, 2):
        raise ValueError(
            f"{path} must hold integers of shape (T,) or (N, T), got {tokens.dtype} of shape "
            f"{tokens.shape}"
        )
    return tokens
