"""A text as the words by which it is compared with others."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

# Scripts that leave no space between words: kana and Chinese characters.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+"
# What an expression is made of; not hyphens, emphasis (**) and exclamation marks.
_SIGN = "|".join(
    [
        r"[+/=<>^%~|&±\N{MULTIPLICATION SIGN}÷·√∑∏∫≤≥≠≈∞∈\N{UNION}∩]",
        r"(?<!\*)\*(?!\*)",
        r"-(?![^\W\d])",
        r"(?<![^\W\d])-",
        r"(?<=[\d)])!",
    ]
)
_WORDS = re.compile(_WORD)
_WORDS_AND_SIGNS = re.compile(f"{_WORD}|{_SIGN}")


def words(text: str) -> list[str]:
    """Return the words of a text, in lower case, without punctuation.

    Digits and letters of other scripts are words, and so is each Chinese or Japanese character;
    forms that Unicode holds for compatibility (full width, ligatures) are written plainly.
    """
    return _WORDS.findall(_plain(text))


def words_and_signs(text: str) -> list[str]:
    """Return the words of a text and the signs of its formulas: ``2*3`` is not ``2+3``."""
    return _WORDS_AND_SIGNS.findall(_plain(text))


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().replace("\u2212", "-")


def ngrams(sequence: Sequence[str], n: int) -> Iterator[str]:
    """Yield each run of `n` words, joined by spaces; nothing where there are fewer."""
    for start in range(len(sequence) - n + 1):
        yield " ".join(sequence[start : start + n])
