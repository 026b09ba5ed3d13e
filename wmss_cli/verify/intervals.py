r"""Inequalities that are joined by "or", as the union of intervals that they describe."""

from __future__ import annotations

import re

_SPACE = r"(?:\s|\\quad|\\[ ,;])*"
_OR = re.compile(rf"{_SPACE}(?:\\text\s*\{{\s*or\s*\}}|\bor\b|\\lor(?![a-z])){_SPACE}")
_SIGN = r"(?P<{}><=?|>=?|≤|≥|\\l(?:t|eq?|eqslant)(?![a-z])|\\g(?:t|eq?|eqslant)(?![a-z]))"
_BETWEEN = re.compile(
    rf"(?P<low>[^<>=≤≥]+?)\s*{_SIGN.format('first')}\s*(?P<name>[a-z])\s*"
    rf"{_SIGN.format('second')}\s*(?P<high>[^<>=≤≥]+)"
)
_HALF = re.compile(rf"(?P<name>[a-z])\s*{_SIGN.format('sign')}\s*(?P<end>[^<>=≤≥]+)")


def union(formula: str) -> str | None:
    r"""Return the union of intervals that inequalities of one variable describe.

    A single inequality is math-verify's: only what is joined by "or" is written anew here.

    Examples
    --------
    >>> union(r"x < -1 \text{ or } x \ge 2")
    '(-\\infty,-1)\\cup[2,\\infty)'
    >>> union("x < -1 or y > 2"), union("x < 1")
    (None, None)
    """
    parts = _OR.split(formula.strip())
    if len(parts) < 2:
        return None
    names: set[str] = set()
    intervals = []
    for part in parts:
        if match := _HALF.fullmatch(part):
            intervals.append(_half_line(match))
        elif (match := _BETWEEN.fullmatch(part)) and _is_less(match["first"]) == _is_less(
            match["second"]
        ):
            intervals.append(_between(match))
        else:
            return None
        names.add(match["name"])
    return r"\cup".join(intervals) if len(names) == 1 else None


def _half_line(match: re.Match[str]) -> str:
    end = match["end"].strip()
    if _is_less(match["sign"]):
        return rf"(-\infty,{end}{'])'[_is_strict(match['sign'])]}"
    return rf"{'[('[_is_strict(match['sign'])]}{end},\infty)"


def _between(match: re.Match[str]) -> str:
    ends = [
        (match["low"].strip(), _is_strict(match["first"])),
        (match["high"].strip(), _is_strict(match["second"])),
    ]
    if not _is_less(match["first"]):
        ends.reverse()
    (low, low_strict), (high, high_strict) = ends
    return f"{'[('[low_strict]}{low},{high}{'])'[high_strict]}"


def _is_less(sign: str) -> bool:
    return sign.startswith(("<", "≤", r"\l"))


def _is_strict(sign: str) -> bool:
    return sign in ("<", ">", r"\lt", r"\gt")
