"""The tags that a completion puts around its thinking and its answer, and the part that counts."""

from __future__ import annotations

import re
from collections.abc import Iterator

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
"""In their order. They may be tokens of their own, special or not."""

# What a tokenizer or a template leaves after the end of a completion.
_END_TOKEN = re.compile(r"(?:(?:</s>|<\|[\w ]{1,30}\|>|<(?:eos|end_of_turn)>)\s*)+\Z")


def answer_part(text: str) -> str | None:
    """Return the part of a completion that counts, unchanged, whatever kind of answer it is.

    That is what is inside the last ``<answer>…</answer>`` after the thinking; without answer tags,
    all that follows ``</think>``; without any tags, the whole text. A tag between quotation marks,
    as in a program, does not count.

    Returns
    -------
    str or None
        None if the thinking or the answer has no end.

    Examples
    --------
    >>> answer_part("<think>Easy.</think><answer>    return x</answer>")
    '    return x'
    """
    rest = _END_TOKEN.sub("", text[max(_ends(text, "</think>"), default=0) :])
    if list(_ends(rest, "<think>")):
        return None
    end = max(_ends(rest, "</answer>"), default=0) - len("</answer>")
    start = max(_ends(rest[: max(end, 0)], "<answer>"), default=0)
    if start:
        return rest[start:end]
    return None if list(_ends(rest, "<answer>")) else rest


def _ends(text: str, tag: str) -> Iterator[int]:
    """Yield where a tag ends; between two of the same quotation marks it is a text, not a tag."""
    for found in re.finditer(re.escape(tag), text):
        before, behind = text[: found.start()][-1:], text[found.end() :][:1]
        if before != behind or before not in ("'", '"', "`"):
            yield found.end()
