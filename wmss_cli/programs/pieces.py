"""The pieces of Python in what a model wrote, and those of them that count."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from wmss_cli.programs.definitions import Program
from wmss_cli.programs.fences import dedented, fenced_blocks, typed
from wmss_cli.programs.syntax import parse, parses, symbols

# A longer text is looked at no further.
_MOST_LINES = 2000
_MOST_PARSED_LINES = 50_000
_MOST_PIECES = 200
_FUTURE = re.compile(r"^from __future__ import .*\n?", re.MULTILINE)
_CLOSING = re.compile(r"^[ \t]*(?:`{3,}|~{3,})", re.MULTILINE)
# A header that is whole or cut off, but no sentence: "def f(x) is the signature".
_HEADER = re.compile(
    r"\s*(?:async\s+)?(?:def|class)\s+\w+\s*(?:\([^)]*)?(?:\)?\s*(?:->[^:]*)?(?::|$)|$)"
)
_INPUT = frozenset({"input", "stdin", "fileinput"})


@dataclass(frozen=True)
class Piece:
    """A piece of Python.

    Attributes
    ----------
    code : str
        A program.
    finished : bool
        False where nothing says that it ends here: no closing fence, no text behind it.
    """

    code: str
    finished: bool = True

    @cached_property
    def program(self) -> Program:
        """Its statements."""
        return Program(self.code)

    def names(self, name: str) -> bool:
        """Say whether it defines a name, at its top level or as a method."""
        return name in self.program.bound or name in self.program.methods

    def since(self, name: str) -> str:
        """Return its source from the last definition of a function or class on."""
        found = list(definition_of(name).finditer(self.code))
        return self.code[found[-1].start() :] if found else self.code


def pieces(text: str, entry_point: str | None = None) -> list[Piece]:
    """Return the Python of a text, in its order.

    That is what is in fenced blocks (:func:`~wmss_cli.programs.fences.fenced_blocks`); where
    nothing there defines the entry point, or there is none, the runs of lines that are programs.
    So are the runs of a block that is no program as a whole.
    """
    found: list[Piece] = []
    # What is repeated counts where it is last.
    blocks = {block.code: block for block in reversed(fenced_blocks(text))}
    for block in list(reversed(blocks.values()))[-_MOST_PIECES:]:
        if parses(code := dedented(block.code)):
            found.append(Piece(code, block.closed))
        else:
            found += _runs(block.code, block.closed)
    for form in (text, typed(text)):
        if entry_point is None or any(piece.names(entry_point) for piece in found):
            break
        found += _runs(form, False)
    different = {piece.code: piece for piece in reversed(found) if piece.code.strip()}
    return list(reversed(different.values()))[-_MOST_PIECES:]


def choose(found: Sequence[Piece], entry_point: str) -> int | None:
    """Return the number of the piece that counts as the solution.

    Of those that define the entry point the last: a model corrects its drafts. What only shows how
    the function looks, without a body, does not count; nor does the beginning of what stands before
    and is repeated until the text ends.

    Returns
    -------
    int or None
        None where nothing defines the entry point.
    """
    defining = [i for i, piece in enumerate(found) if entry_point in piece.program.bound]
    defining = defining or [i for i, piece in enumerate(found) if piece.names(entry_point)]
    defining = [i for i in defining if not found[i].program.is_stub(entry_point)] or defining
    if len(defining) > 1 and not found[defining[-1]].finished:
        last = found[defining[-1]].since(entry_point).rstrip()
        before = [i for i in defining[:-1] if found[i].since(entry_point).startswith(last)]
        return before[-1] if before else defining[-1]
    return defining[-1] if defining else None


def choose_script(found: Sequence[Piece]) -> int | None:
    """Return the number of the last piece that reads input; where none does, of the longest."""
    reading = [i for i, piece in enumerate(found) if _reads_input(piece.code)]
    if reading:
        return reading[-1]
    return max(range(len(found)), key=lambda i: len(found[i].code), default=None)


def with_others(found: Sequence[Piece], chosen: int) -> str:
    """Return a piece with those others that define what it uses and does not define itself.

    Of several pieces that define a name, the last one before it counts; behind it, the first that
    defines a function or class.
    """
    taken = {chosen}
    missing = set(found[chosen].program.missing)
    while missing:
        name = missing.pop()
        before = [i for i in range(chosen) if name in found[i].program.bound]
        behind = [i for i in range(chosen, len(found)) if name in found[i].program.definitions]
        for number in before[-1:] or behind[:1]:
            if number not in taken:
                taken.add(number)
                missing |= found[number].program.missing
    return joined(found[number].code for number in sorted(taken))


def joined(codes: Iterable[str]) -> str:
    """Return programs as one, with their future imports first, where Python wants them."""
    code = "\n".join(codes)
    future = "".join(dict.fromkeys(_FUTURE.findall(code)))
    return f"{future}{_FUTURE.sub('', code)}" if future else code


def is_cut_off(text: str, entry_point: str, chosen: str = "") -> bool:
    """Say whether a text ends within another definition of the entry point than the chosen one.

    One that repeats the chosen one as far as it goes is no other.
    """
    definitions = list(definition_of(entry_point).finditer(text))
    if not definitions:
        return False
    last = text[definitions[-1].start() :]
    first, *others = last.split("\n")
    indent = len(first) - len(first.lstrip())
    goes_on = all(not line.strip() or _indent(line) > indent for line in others)
    if (
        not goes_on
        or not _HEADER.match(last)
        or _CLOSING.search(last)
        or parses(textwrap.dedent(last))
    ):
        return False
    tail = textwrap.dedent(last).strip()
    return not Piece(chosen).since(entry_point).lstrip().startswith(tail)


def runs_of_lines(text: str) -> list[str]:
    """Return the runs of lines that are programs, each as long as it can be, in their order.

    Lines that are indented all alike count without their indentation. A long text is looked at
    no further than a second or so takes.
    """
    lines = text.split("\n")[:_MOST_LINES]
    found: list[str] = []
    first = parsed = 0
    while first < len(lines) and parsed <= _MOST_PARSED_LINES:
        if not lines[first].strip():
            first += 1
            continue
        indent = _indent(lines[first])
        end = first + 1
        while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) >= indent):
            end += 1
        run = [line[indent:] for line in lines[first:end]]
        parsed += len(run)
        while run and (wrong := _wrong_line(run)) is not None:
            run = run[:wrong]
            parsed += len(run)
        if run:
            found.append("\n".join(run).strip("\n"))
        first += max(len(run), 1)
    return found


def _runs(text: str, closed: bool) -> list[Piece]:
    found = runs_of_lines(text)
    return [Piece(run, closed or number < len(found)) for number, run in enumerate(found, 1)]


def _wrong_line(lines: Sequence[str]) -> int | None:
    """Return the number of lines before the first one that is wrong; None where none is."""
    try:
        symbols("\n".join(lines))
    except SyntaxError as error:
        return min((error.lineno or 1) - 1, len(lines) - 1)
    return None


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def definition_of(name: str) -> re.Pattern[str]:
    """Return how the definition of a function or class begins."""
    return re.compile(
        rf"^[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+{re.escape(name)}\b", re.MULTILINE
    )


def _reads_input(code: str) -> bool:
    for node in ast.walk(parse(code)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                if name in _INPUT:
                    return True
            case ast.Call(
                func=ast.Name(id="open"), args=[ast.Constant(value=0 | "/dev/stdin"), *_]
            ):
                return True
    return False
