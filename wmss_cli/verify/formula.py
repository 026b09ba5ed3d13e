r"""Read a formula by math-verify, the whole of it or nothing.

math-verify takes what it can read: of ``1, 3, 5, \ldots`` the 5, of ``5 3`` the sum. A formula that
cannot be read as it stands is here none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from math_verify import LatexExtractionConfig, parse
from sympy import Basic, I, MatrixBase

from wmss_cli.verify.intervals import union
from wmss_cli.verify.number import PART_WORDS, decimal_comma, without_unit
from wmss_cli.verify.writing import both_signs, in_latex

_LATEX = (LatexExtractionConfig(),)
_ELLIPSIS = re.compile(r"\\(?:[lcvd]?dots[bcmio]?)(?![a-z])|\.{3}|…")
# Not "\frac 1 2", and not the cells of a matrix.
_ADJACENT = re.compile(
    r"(?<!frac )(?<!frac)(?<![\d.])(?<!_)(?<!\\binom )\d[\d.]*"
    r"(?:\s|\\[ ,;:!]|\\q?quad(?![a-z])|~)+[\d.]"
)
_MARKS = re.compile(r"[?#@§]")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_WRAPPED = re.compile(
    r"\\(?:begin|end)\s*\{\w+\*?\}|\\(?:text\w*|mbox|mathrm|operatorname)\s*\{[^{}]*\}"
)
_LONG_WORD = re.compile(
    r"(?<![A-Za-z])(?!(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?(?![a-z]))[A-Za-z]{4,}"
)
_TEXT = re.compile(r"\\(?:text\w*|mbox|mathrm)\s*\{([^{}]*)\}")
# In words: what makes of a value another one, or none.
_CHANGES = re.compile(
    r"\b(?:not|no|at\s+(?:least|most)|more|less|fewer|greater|over|under|below|above|between|up\s+to"
    r"|except|without|squared|cubed|than|times|per\s?cent|from|about|mod|modulo|minus|negative"
    rf"|{PART_WORDS})\b|\bto\b",
    re.IGNORECASE,
)
_CURRENCY_IN_SUM = re.compile(r"(?<!\\)\$(?=\s?[\d.])")


def readings(text: str) -> Iterator[list[Any]]:
    """Yield what a tidy formula may mean, the likeliest first, each as math-verify reads it.

    Parameters
    ----------
    text : str
        As :func:`~wmss_cli.verify.writing.tidy` returns it, without a percent sign.

    Yields
    ------
    list of sympy.Basic or sympy.MatrixBase
        Of one element; nothing is yielded for what cannot be read.
    """
    if (intervals := union(text)) is not None:
        yield from _read(intervals)
    formula = without_unit(in_latex(text))
    yield from _read(both_signs(formula) or formula)
    if (decimal := decimal_comma(text)) is not None:
        yield from _read(decimal)


def _read(formula: str) -> Iterator[list[Any]]:
    formula = _CURRENCY_IN_SUM.sub("", formula)
    if not _is_readable(formula):
        return
    found = parse(
        rf"\boxed{{{formula}}}", _LATEX, fallback_mode="no_fallback", parsing_timeout=None
    )
    read = [_imaginary(value) for value in found if isinstance(value, Basic | MatrixBase)]
    if read:
        yield read


def _imaginary(value: Any) -> Any:
    """Return a value with the imaginary unit where math-verify has a variable i, or two."""
    units = [name for name in value.free_symbols if str(name) == "i"]
    return value.xreplace(dict.fromkeys(units, I)) if units else value


def _is_readable(formula: str) -> bool:
    """Say whether nothing stands in a formula that math-verify would leave out."""
    bare = _COMMAND.sub(" ", _WRAPPED.sub(" ", formula))
    return not (
        _ELLIPSIS.search(formula)
        or _ADJACENT.search(formula)
        or _MARKS.search(formula)
        or _LONG_WORD.search(bare)
        or any(_CHANGES.search(words) for words in _TEXT.findall(formula))
        or not _is_balanced(formula)
    )


def _is_balanced(formula: str) -> bool:
    depth = 0
    for brace in re.findall(r"\\.|[{}]", formula, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(brace, 0)
        if depth < 0:
            return False
    return depth == 0
