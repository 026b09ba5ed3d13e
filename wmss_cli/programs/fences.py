"""Fenced blocks of Markdown as models write them, whose fences may be in the wrong place."""

from __future__ import annotations

import re
import textwrap
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter

from wmss_cli.programs.syntax import parses

# A fence begins its line, perhaps as a list item, or follows a sentence or a tag.
_OPENING = re.compile(
    r"(?P<no_ticks>(?=[^`]*\Z))?"  # so that each line is read once, however long it is
    r"(?P<before>[ \t]*(?:(?:[-*+]|\d+[.)])[ \t]+)?|[^`]*[:>.][ \t]*)"
    r"(?P<fence>`{3,}|(?(no_ticks)~{3,}(?!~)|(?!)))\s*(?P<info>(?:[^`\s][^`]*)?)"
)
_CLOSING = re.compile(r"(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[`~]*(?P<rest>.*)")
_ONE_LINE = re.compile(
    r"[^`]*(?P<fence>`{3,})\s*(?P<code>[^`\s](?:[^`]*[^`\s])?)\s*(?P=fence)[^`]*"
)
_LANGUAGE = re.compile(r"[{.\s]*(?P<name>[\w+#-]*)")
_PYTHON = re.compile(r"i?py(?:thon)?[\d.]*(?:-\w+)?|pycon|pyrepl|(?:jupyter|sage)-?(?:python)?")
_PYTHON_FILE = re.compile(r"\s*[\w./-]+\.pyw?\b")
_UNNAMED = frozenset({"", "text", "txt", "plaintext", "plain", "code", "none"})
# Code that follows the language on the line of the fence.
_FIRST_CODE = re.compile(r"\s(?P<code>(?:(?:async\s+)?def|class|import|from)\s.*|@.*)")
_QUOTED = re.compile(r"[ \t]*>(?!>>)[ \t]?")
_QUOTED_FENCE = re.compile(r"[ \t]*>(?!>>)[ \t]*(?:`{3,}|~{3,})")
_PROMPT = re.compile(r"[ \t]*(?:>>>|\.\.\.|In \[\d+\]:|\.\.\.:)(?: |$)")
# Number of ends of a block that are tried, and of lines that are parsed for that in one text.
_MOST_ENDS = 12
_MOST_LINES = 20_000


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes
    ----------
    code : str
        Its content, without the indentation of its fence.
    closed : bool
        False if the text ends before the block does.
    is_named : bool
        Whether it is marked as Python; otherwise no language is named.
    """

    code: str
    closed: bool = True
    is_named: bool = True


def fenced_blocks(text: str) -> list[Block]:
    """Return the fenced blocks of Python, or of no language, in order.

    A fence of backticks or tildes closes with one at least as long, indented by at most three more
    spaces. If the code up to a closing fence is not a program but the code up to a later one is,
    the fences in between are in a text inside the code, such as a docstring. A fence at the end of
    a line of code also closes, if no fence on its own line does. A block ends where another opens.
    """
    return list(_Reader(text).blocks())


def dedented(code: str) -> str:
    r"""Return code without what precedes all its lines: an indentation, the prompts of a session.

    Examples
    --------
    >>> dedented(">>> def f():\n...     return 1\n>>> f()\n1")
    'def f():\n    return 1\nf()'
    """
    if parses(code):
        return code
    if parses(outer := textwrap.dedent(code)):
        return outer
    session = typed(code)
    return session if session and parses(session) else code


def typed(text: str) -> str:
    """Return what was typed in a session, after the prompts of Python or IPython."""
    return "\n".join(line[m.end() :] for line in text.split("\n") if (m := _PROMPT.match(line)))


class _Reader:
    def __init__(self, text: str) -> None:
        self._lines = _unquoted(text.replace("\r\n", "\n").split("\n"))
        self._fences = [
            (number, found)
            for number, line in enumerate(self._lines)
            if (found := _CLOSING.fullmatch(line))
        ]
        self._parsed = 0

    def blocks(self) -> Iterator[Block]:
        number = 0
        while number < len(self._lines):
            line = self._lines[number]
            number += 1
            if one := _ONE_LINE.fullmatch(line):
                name, rest = _language(one["code"])
                code = rest.strip() if _is_python(name) and rest[:1].isspace() else one["code"]
                if self._is_program(code):
                    yield Block(code)
            elif (opening := _OPENING.fullmatch(line)) and _opens(opening):
                block, number = self._block(opening, number)
                if block is not None:
                    yield block

    def _block(self, opening: re.Match[str], first: int) -> tuple[Block | None, int]:
        """Read the block after an opening fence; return it and the index of the line after it."""
        name, rest = _language(opening["info"])
        indent = len(opening["before"]) if not opening["before"].strip() else 0
        ends = list(islice(self._ends(opening["fence"], indent, first), _MOST_ENDS))
        wanted = name in _UNNAMED or _is_python(name)
        if not wanted:
            end, behind = ends[0] if ends else (len(self._lines),) * 2
            return None, behind
        above = [found["code"]] if (found := _FIRST_CODE.match(rest)) else []
        is_named = name not in _UNNAMED
        for end, behind in ends:
            code = _cut_indent([*above, *self._lines[first:end]], indent)
            if self._is_program(code):
                return Block(code, is_named=is_named), behind
        last = ends[0][0] if ends else len(self._lines)
        for number in range(first, last):
            line = self._lines[number].rstrip()
            if line.endswith(opening["fence"]) and not line.strip().startswith(opening["fence"]):
                inside = [*above, *self._lines[first:number], line.removesuffix(opening["fence"])]
                if self._is_program(code := _cut_indent(inside, indent)):
                    return Block(code, is_named=is_named), number + 1
        code = _cut_indent([*above, *self._lines[first:last]], indent)
        return Block(code, bool(ends), is_named), ends[0][1] if ends else last

    def _ends(self, fence: str, indent: int, first: int) -> Iterator[tuple[int, int]]:
        """Yield where a block may end: the line of its end, and the line to continue with."""
        start = bisect_left(self._fences, first, key=itemgetter(0))
        for number, found in islice(self._fences, start, None):
            if len(found["indent"].expandtabs(4)) > indent + 3:
                continue
            is_shorter = fence.startswith(found["fence"]) and fence != found["fence"]
            if (
                not is_shorter
                and re.match(r"[ \t]*[\w{]", found["rest"])
                and _opens_at(found["rest"])
            ):
                yield number, number
            elif found["fence"].startswith(fence):
                yield number, number + 1

    def _is_program(self, code: str) -> bool:
        self._parsed += code.count("\n") + 1
        return self._parsed <= _MOST_LINES and bool(code.strip()) and parses(dedented(code))


def _unquoted(lines: Sequence[str]) -> list[str]:
    """Return lines without the quotation marks (``>``) around a fenced block."""
    if not any(map(_QUOTED_FENCE.match, lines)):
        return list(lines)
    return [_QUOTED.sub("", line, count=1) for line in lines]


def _opens(opening: re.Match[str]) -> bool:
    """Return whether a fence opens a block; after a sentence only one with a language does."""
    before = opening["before"].strip()
    if not before or re.fullmatch(r"[-*+]|\d+[.)]|.*>", before):
        return True
    return opening["fence"][0] == "`" and (before[-1] == ":" or bool(opening["info"].strip()))


def _opens_at(rest: str) -> bool:
    """Return whether the text after a fence is a language, and not a sentence."""
    name, more = _language(rest)
    return _is_python(name) or (bool(name) and not more.strip())


def _language(info: str) -> tuple[str, str]:
    if file := _PYTHON_FILE.match(info):
        return "python", info[file.end() :]
    found = _LANGUAGE.match(info)
    assert found is not None
    return found["name"].lower(), info[found.end() :]


def _is_python(name: str) -> bool:
    return _PYTHON.fullmatch(name) is not None


def _cut_indent(lines: Sequence[str], indent: int) -> str:
    cut = [line[min(indent, len(line) - len(line.lstrip(" \t"))) :] for line in lines]
    return "".join(f"{line}\n" for line in cut)
