"""A text as the words by which it is compared with others."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Return the words of a text, in lower case, without punctuation.

    Digits and letters of other scripts are words; forms that Unicode holds for compatibility (full
    width, ligatures) are written plainly.
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def ngrams(sequence: Sequence[str], n: int) -> Iterator[str]:
    """Yield each run of `n` words, joined by spaces; nothing where there are fewer."""
    for start in range(len(sequence) - n + 1):
        yield " ".join(sequence[start : start + n])
