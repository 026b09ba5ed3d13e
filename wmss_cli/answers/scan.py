r"""Finds the values in a text: numbers, formulas in plain text and LaTeX, and their emphasis.

A value is read as a whole: ``2√3``, ``(15, -29)``, ``1.6 thousand`` and ``$40 + $24 = $64`` are
one each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from wmss_cli.answers.number import CURRENCY, INDIAN

MARKED = (
    r"(?:(?<!\\)\$\$(?:[^$\\]|\\.)+\$\$|(?<!\\)\$(?![\s$])(?:[^$\\]|\\.)*(?<!\s)\$(?![\d$])"
    r"|\\\((?:[^\\]|\\[^()])+\\\)|\\\[(?:[^\\]|\\[^\[\]])+\\\])"
)
"""A formula in dollars or LaTeX brackets."""
# With spaces inside the dollars, which LaTeX allows and a price does not have.
_BLANK_MARKED = r"(?<!\\)\$\s+(?:[^$\\\n]|\\.)*\S\s+\$(?![\d$])"
_EMPHASIS = re.compile(
    r"(?P<mark>(?<![A-Za-z0-9)}\]*])\*\*\*?(?=[^\s*])|(?<![\w*\\)}])\*(?=[^\s*]))(?P<inner>[^*\n]{1,300}?)(?<!\s)(?P=mark)"
    r"|`{1,3}(?P<code>[^`\n]{1,300})`{1,3}"
)
_TOKEN = re.compile(
    rf"(?P<marked>{MARKED}|{_BLANK_MARKED})"
    r"|(?P<matrix>\\begin\s*\{(?P<name>\w+\*?)\}.{0,2000}?\\end\s*\{(?P=name)\})"
    r"|(?P<text>\\(?:text\w*|mbox|mathrm|operatorname)\s*\{[^{}]*\}(?:\s*\^\s*\{?\d\}?)?)"
    r"|(?P<gap>\\[,;:! ]|\\q?quad(?![a-z])|[ \t]+)"
    r"|(?P<opening>\\\{|[(\[{])|(?P<closing>\\\}|[)\]}])"
    rf"|(?P<currency>{CURRENCY}(?=\s?[-\d.]))"
    r"|(?P<percent>\\?%)"
    r"|(?P<command>\\[A-Za-z]+\d*)"
    # With commas between thousands, or one before decimals.
    rf"|(?P<number>(?<![A-Za-z_])(?:{INDIAN}"
    r"|(?<![\d.,])[1-9]\d{0,2}(?:\.\d{3}){1,9},\d{1,2}(?![,.]?\d)"
    r"|\d{1,3}(?:(?:,\d{3})+|(?: \d{3})+)(?!\d)(?:\.\d+)?"
    r"|(?<!,)\d+,\d+(?![\d,.]*\d)"
    r"|\d+(?:\.\d+)?|\.\d+)"
    r"(?:[eE][-+]?\d+(?![A-Za-z\d])|\s?[xX×]\s?10\s?\^\s?(?:\{[-+]?\d+\}|[-+]?\d+))?)"  # noqa: RUF001
    r"|(?P<sign>[-+*/^_=<>×÷·±≤≥≠≈√π∞∪∩°:!])"  # noqa: RUF001
    r"|(?P<function>(?:(?:arc)?(?:sin|cos|tan|cot|sec|csc)|log|ln|exp|sqrt|pi)(?![A-Za-z]))"
    r"|(?P<letter>(?<![A-Za-z\\'])[A-Za-z](?![A-Za-z']))"
    r"|(?P<comma>,)",
    re.DOTALL,
)
_BRACKET = re.compile(r"(?P<opening>\\\{|(?<!\\)[(\[{])|(?P<closing>\\\}|(?<!\\)[)\]}])")
_STARTS = frozenset(
    ("marked", "matrix", "command", "currency", "number", "opening", "function", "letter")
)
_STARTING_SIGNS = frozenset("-+±√π∞")
_BINARY = frozenset("-+*/=<>×÷·±≤≥≠≈∪∩")  # noqa: RUF001
_TELLING = re.compile(r"[\d√π∞]|\\(?!left|right|[,;:! ])[A-Za-z]+")
# A formula with variables only, such as p - q.
_LETTERS = re.compile(
    r"(?:[A-Za-z](?![A-Za-z])|[-+*/^=() ])*[-+*/^=](?:[A-Za-z](?![A-Za-z])|[() ])+"
)
_WORDS = re.compile(r"[A-Za-z]{3,}\W+[A-Za-z]{2,}")
_NO_WORDS = re.compile(
    r"\\(?:begin|end)\s*\{\w+\*?\}|\\(?:text\w*|mbox|mathrm|operatorname)\s*\{[^{}]*\}|\\[A-Za-z]+"
)
# 450,000-2000 = $448,000 is a sum with its result; x = 5 is a value of x.
_SUM = re.compile(
    r"(?=[^=]*\d)(?:[\d\s.,+\-*/×÷·^()$€£¥₹%{}]|\\(?:times|cdot|div|frac|left|right|\$|%)"  # noqa: RUF001
    r"|(?<=\d)\s?x\s?(?=[\d$])|=)+=\s*(?P<result>(?=[^=]*\d)[^=<>]+)"
)
_AFTER_EQUALS = re.compile(r"=\s*\Z")
_MIXED = re.compile(r"\s+\d+\s?/\s?\d+(?![\d/])")
_ARTICLE = re.compile(r"\s+[A-Za-z]{2}")
_TRAILING = re.compile(r"(?:\s|[-+*/=<>×÷·±≤≥≠≈:_^,]|\\[,;:! ]|\\(?:times|cdot|div|pm))+$")  # noqa: RUF001
_SCALE = re.compile(
    r"\s*(?:(?:hundred|thousand|(?:m|b|tr)illion|dozen)\b(?:\s+(?:thousand|(?:m|b|tr)illion)\b)*|per\s?cent\b|\\?%|[万萬亿億]"
    r"|(?<=\d)[半多余餘]|(?:[ap]m|[ap]\.m\.?)(?![A-Za-z]))",
    re.IGNORECASE,
)
_HALF = re.compile(r"\s+and\s+(?:a|one)[\s-]+(?P<part>half|third|quarter)\b")
_HALVES = {"half": " 1/2", "third": " 1/3", "quarter": " 1/4"}
_TIME = r"(?:hours?|hrs?|minutes?|mins?|seconds?|secs?|days?|weeks?|feet|foot|ft|inch(?:es)?|in)"
_AMOUNT = re.compile(
    rf"\d+\s+{_TIME}\b(?:,?\s+(?:and\s+)?\d+\s+{_TIME}\b)+"
    r"|\d+\s*(?:h|hrs?)\s*\d+\s*(?:min|m)\b|\d+\s*m\s+\d+\s*cm\b"
)


class Value(NamedTuple):
    """A value and its position.

    Attributes
    ----------
    start, end : int
        Position in the text without emphasis.
    text : str
        Its text for comparison: without dollars, and without marks of emphasis.
    is_marked : bool
        Whether it is a formula in dollars or LaTeX brackets.
    is_emphasised : bool
        Whether it is bold, in italics or in code marks.
    is_result : bool
        Whether it is the right side of an equation in plain text.
    """

    start: int
    end: int
    text: str
    is_marked: bool = False
    is_emphasised: bool = False
    is_result: bool = False


def without_emphasis(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Return a text without Markdown's marks, and the start and end of what they marked.

    Examples
    --------
    >>> without_emphasis("It is **42** in all.")
    ('It is 42 in all.', [(6, 8)])
    """
    parts: list[str] = []
    spans: list[tuple[int, int]] = []
    length = position = 0
    for match in _EMPHASIS.finditer(text):
        before = text[position : match.start()]
        inner = (match["inner"] or match["code"] or "").strip("*`")
        parts += [before, inner]
        length += len(before)
        spans.append((length, length + len(inner)))
        length += len(inner)
        position = match.end()
    if not spans:
        return text, []
    return "".join([*parts, text[position:]]), spans


def values(text: str, spans: list[tuple[int, int]] | None = None) -> list[Value]:
    """Return the values of a text, in order.

    Parameters
    ----------
    text : str
        A text without emphasis.
    spans : list of (int, int), optional
        Its emphasised parts, from :func:`without_emphasis`; no value crosses their ends.

    Examples
    --------
    >>> [value.text for value in values("So 2 + 2 = 4, and (1, 2) is $x$ for 1.6 thousand.")]
    ['4', '(1, 2)', 'x', '1.6 thousand']
    """
    found: list[Value] = []
    position = 0
    for start, end in spans or ():
        found += _scan(text, position, start)
        inside = list(_scan(text, start, end))
        if not inside and _LETTERS.fullmatch(text, start, end):
            inside = [Value(start, end, text[start:end])]
        found += [value._replace(is_emphasised=True) for value in inside]
        position = end
    return [*found, *_scan(text, position, len(text))]


def result(formula: str) -> str:
    """Return the right side of a sum in plain text, and any other formula as it is.

    Examples
    --------
    >>> result("450,000-2000 = $448,000"), result("2x + 3y = 5")
    ('$448,000', '2x + 3y = 5')
    """
    match = _SUM.fullmatch(formula)
    return match["result"] if match else formula


def unmarked(formula: str) -> str:
    """Return a formula without its dollars or brackets, and without a full stop inside these."""
    ends = 2 if formula.startswith(("$$", "\\")) else 1
    return formula[ends:-ends].strip().rstrip(".,;")


def _scan(text: str, position: int, limit: int) -> Iterator[Value]:
    unclosed = _unclosed(text, position, limit)
    while position < limit:
        match = _TOKEN.search(text, position, limit)
        if match is None:
            return
        kind = str(match.lastgroup)
        kind = "matrix" if kind == "name" else kind
        if kind == "marked" and _WORDS.search(_NO_WORDS.sub(" ", match[0])):
            position = match.start() + 1  # prices around words
        elif kind == "marked":
            yield _marked(text, match, limit)
            position = match.end()
        elif amount := _AMOUNT.match(text, match.start(), limit):
            yield Value(match.start(), amount.end(), amount[0])
            position = amount.end()
        elif match.start() in unclosed or not (
            kind in _STARTS or (kind == "sign" and match[0] in _STARTING_SIGNS)
        ):
            position = match.end()
        else:
            end = _run_end(text, match, limit, unclosed)
            value = _value(text, match.start(), end, limit)
            if value is not None:
                yield value
            # A bracket around words may have values inside.
            position = max(end, match.end()) if value is None else value.end


def _marked(text: str, match: re.Match[str], limit: int) -> Value:
    formula, end = unmarked(match[0]), match.end()
    if scale := _SCALE.match(text, end, limit):
        formula, end = f"{formula} {scale[0].strip()}", scale.end()
    return Value(match.start(), end, formula, is_marked=True)


def _value(text: str, start: int, end: int, limit: int) -> Value | None:
    formula = _TRAILING.sub("", text[start:end])
    if not _TELLING.search(formula):
        return None
    end = start + len(formula)
    if (sum_ := _SUM.fullmatch(formula)) is not None:
        start, formula = start + sum_.start("result"), sum_["result"]
    if half := _HALF.match(text, end, limit):
        return Value(start, half.end(), formula + _HALVES[half["part"]])
    is_result = sum_ is not None or _AFTER_EQUALS.search(text, max(0, start - 3), start) is not None
    if scale := _SCALE.match(text, end, limit):
        end = scale.end()
    return Value(start, end, text[start:end], is_result=is_result)


def _unclosed(text: str, position: int, limit: int) -> frozenset[int]:
    """Return the positions of brackets that are never closed."""
    opened: list[int] = []
    for bracket in _BRACKET.finditer(text, position, limit):
        if bracket["opening"]:
            opened.append(bracket.start())
        elif bracket["closing"] and opened:
            opened.pop()
    return frozenset(opened)


def _run_end(text: str, first: re.Match[str], limit: int, unclosed: frozenset[int]) -> int:
    """Return the end of the formula that starts with a token, before a bracket around words."""
    opened: list[int] = []
    position = first.start()
    before: re.Match[str] | None = None
    end = position
    while (token := _TOKEN.match(text, position, limit)) is not None:
        kind = token.lastgroup
        if kind == "gap":
            position = token.end()
            following = _TOKEN.match(text, position, limit)
            if following is None or not (opened or _joins(text, before, token, following, limit)):
                break
            continue
        if kind == "marked" or (kind == "comma" and not opened):
            break
        if kind == "sign" and not _is_operator(text, before, token, limit):
            break
        if kind == "letter" and token[0] in "aAI" and _ARTICLE.match(text, token.end(), limit):
            break
        if kind == "opening":
            if token.start() in unclosed:
                break
            opened.append(token.start())
        elif kind == "closing":
            if not opened:
                break
            opened.pop()
        position = token.end()
        before = token
        if not opened:
            end = position
    return end if end > first.start() or not opened else opened[0]


def _joins(
    text: str,
    before: re.Match[str] | None,
    gap: re.Match[str],
    after: re.Match[str],
    limit: int,
) -> bool:
    r"""Return whether a gap is inside a formula, as in ``2 + 2`` and ``3 \sqrt{2}``."""
    if before is None or after.lastgroup in ("marked", "comma", "closing"):
        return False
    if _is_binary(before) or _is_binary(after):
        return True
    if before[0] == ":" or after[0] == ":":
        return after[0] == ":" or after.lastgroup == "number"
    if after.lastgroup in ("text", "percent") or _MIXED.match(text, gap.start(), limit):
        return True
    latex = ("command", "matrix", "text")
    if after.lastgroup == "opening":
        return before.lastgroup == "command" or gap[0].startswith("\\")
    is_latex = before.lastgroup in latex or after.lastgroup in latex or before[0] == "}"
    return (is_latex or before.lastgroup == "currency" or before[0] in "√-") and (
        after.lastgroup not in ("currency",)
    )


def _is_binary(token: re.Match[str]) -> bool:
    return token.lastgroup == "sign" and token[0] in _BINARY


def _is_operator(text: str, before: re.Match[str] | None, token: re.Match[str], limit: int) -> bool:
    """Return whether a sign belongs to a formula, unlike a sentence's colon or full stop."""
    if token[0] == "!":
        return bool(re.compile(r"\s*[-+*/)^=×·]").match(text, token.end(), limit))  # noqa: RUF001
    if token[0] == ":":
        number = before is not None and before.lastgroup == "number"
        return number and re.compile(r"\s*\d").match(text, token.end(), limit) is not None
    return True
