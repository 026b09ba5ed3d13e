"""The values of `gradient_checkpointing`: which blocks are recomputed in the backward pass."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

MOST = 99
"""Largest n in `every-nth`."""

_NAMED = {"none": 0, "full": 1}
_ENDINGS = {1: "st", 2: "nd", 3: "rd"}


def every(mode: str) -> int:
    """Return n, if every n-th block is recomputed: 1 is all, 0 none.

    Parameters
    ----------
    mode : str
        A value other than auto.
    """
    return _NAMED[mode] if mode in _NAMED else int(mode[len("every-") : -2])


def mode_of(n: int) -> str:
    """Return the name of :func:`every`'s `n`."""
    for name, number in _NAMED.items():
        if number == n:
            return name
    ending = "th" if n in (11, 12, 13) else _ENDINGS.get(n % 10, "th")
    return f"every-{n}{ending}"


def _named(value: Any) -> Any:
    """Accept what this option was before it had more than two values."""
    return {True: "full", False: "none"}[value] if isinstance(value, bool) else value


def _known(mode: str) -> str:
    found = re.fullmatch(r"every-(\d{1,2})(st|nd|rd|th)", mode)
    if mode in ("auto", *_NAMED) or (found and mode_of(int(found[1])) == mode):
        return mode
    raise ValueError(f"{mode!r} is not one of none, full, auto, every-2nd, every-3rd and so on")


Recomputation = Annotated[str, BeforeValidator(_named), AfterValidator(_known)]
