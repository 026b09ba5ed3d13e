"""The values of `gradient_checkpointing`: which blocks are recomputed in the backward pass."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_NAMED = {"none": 0, "full": 1}
PATTERN = r"^(none|full|auto|every-(2nd|3rd|([4-9]|[1-9]\d)th))$"


def _named(value: Any) -> Any:
    """Take what this option was before it had more than two values."""
    return {True: "full", False: "none"}[value] if isinstance(value, bool) else value


Recomputation = Annotated[str, BeforeValidator(_named), Field(pattern=PATTERN)]


def every(mode: str) -> int:
    """Return n where each n-th block is recomputed: 1 is all, 0 none.

    Parameters
    ----------
    mode : str
        Not auto.
    """
    assert re.match(PATTERN, mode), mode
    assert mode != "auto"
    return _NAMED[mode] if mode in _NAMED else int(re.findall(r"\d+", mode)[0])


def mode_of(n: int) -> str:
    """Return the name of :func:`every`'s `n`."""
    for name, number in _NAMED.items():
        if number == n:
            return name
    return f"every-{n}{ {2: 'nd', 3: 'rd'}.get(n, 'th') }"
