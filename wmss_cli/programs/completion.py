"""The program in a completion: its pieces of Python, which of them count, and what is tested."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from wmss_cli.core.tags import answer_part
from wmss_cli.programs.definitions import Program, defines, keep_definitions
from wmss_cli.programs.fences import dedented, fenced_blocks, typed
from wmss_cli.programs.syntax import parse, parses, symbols

# Codes for colours in terminals.
_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# Longer texts are searched only up to here.
_MOST_LINES = 2000
_MOST_PARSED_LINES = 50_000
_MOST_PIECES = 200
_FUTURE = re.compile(r"^from __future__ import .*\n?", re.MULTILINE)
_CLOSING = re.compile(r"^[ \t]*(?:`{3,}|~{3,})", re.MULTILINE)
# A header that is complete or cut off, but not a sentence: "def f(x) is the signature".
_HEADER = re.compile(
    r"\s*(?:async\s+)?(?:def|class)\s+\w+\s*(?:\([^)]*)?(?:\)?\s*(?:->[^:]*)?(?::|$)|$)"
)
_INPUT = frozenset({"input", "stdin", "fileinput"})


def extract_from_answer(completion: str, entry_point: str | None = None) -> str | None:
    """Return the program of a record as it is.

    Only the answer counts (:func:`~wmss_cli.core.tags.answer_part`): neither drafts inside the
    thinking nor anything unfinished do. The program is the piece that defines the entry point
    (:func:`choose`), or without an entry point the one that reads input, with the pieces that
    define what it uses. A block that is not a program is returned as it is.

    Returns
    -------
    str or None
        None if there is no program.
    """
    text = _answer(completion)
    if text is None:
        return None
    if entry_point:
        # Some records name it Solution().name.
        entry_point = re.findall(r"\w+|$", entry_point.rstrip("()"))[-2:][0]
    codes = [dedented(block.code) for block in fenced_blocks(text)]
    last = [code for code in codes if entry_point and definition_of(entry_point).search(code)]
    broken = last[-1] if last else max(codes, key=len, default="")
    if codes and not parses(broken) and (last or not any(map(parses, codes))):
        return broken  # to be refused as it is: the part of it that parses is a different program
    found = [Piece(code) for code in codes if parses(code)]
    found = found if codes else pieces(text, entry_point or "")
    chosen = choose(found, entry_point) if entry_point else None
    if chosen is None:
        chosen = choose_script(found)
    return None if chosen is None else with_others(found, chosen)


def extract_code(
    completion: str, entry_point: str | None = None, used: Collection[str] = ()
) -> str | None:
    r"""Return what the tests need of the program in a completion.

    This is the piece that defines the entry point (:func:`choose`), with the pieces that define
    what it uses; of these, only what the tests need
    (:func:`~wmss_cli.programs.definitions.keep_definitions`). Examples of use and a main part are
    removed, as in EvalPlus: https://github.com/evalplus/evalplus, evalplus/sanitize.py

    Parameters
    ----------
    completion : str
        The text that the model wrote.
    entry_point : str, optional
        The function or class that is tested.
    used : collection of str
        Other names that the tests use.

    Returns
    -------
    str or None
        None if the answer is unfinished or contains no program.

    Examples
    --------
    >>> extract_code("Here it is:\ndef f(x):\n    return x\n\nprint(f(1))\nDone!", "f")
    'def f(x):\n    return x'
    """
    text = _answer(completion)
    return None if text is None else _extract(text, entry_point, used)


def complete(
    prompt: str, completion: str, entry_point: str, used: Collection[str] = ()
) -> str | None:
    """Return the program that a prompt like HumanEval's and its completion form together.

    A completion that defines the entry point itself replaces its beginning in the prompt; the
    imports and helpers above it stay. A completion that continues with the body ends before it
    defines the entry point again.

    Parameters
    ----------
    prompt : str
        The beginning of a program, up to the docstring of a function.
    completion : str
        The text that the model wrote.
    entry_point : str
        Name of that function.
    used : collection of str
        Other names that the tests use.

    Returns
    -------
    str or None
        None if the answer is unfinished or contains neither the function nor its body.
    """
    text = _answer(completion)
    if text is None:
        return None
    wanted = {entry_point, *used}
    goes_on = text.lstrip("\n")[:1].isspace() and not _defines_first(text, entry_point)
    if goes_on and (program := _continued(prompt, text, entry_point, goes_on)) is not None:
        return keep_definitions(program, wanted)
    code = _extract(text, entry_point, used)
    if code is not None and defines(code, entry_point):
        found = re.search(rf"^(?:async )?def {re.escape(entry_point)}\b", prompt, re.MULTILINE)
        return joined([prompt[: found.start()] if found else prompt, code])
    bodies = [piece.code for piece in reversed(pieces(text))] or [text]
    for body in bodies:
        if (program := _continued(prompt, body, entry_point)) is not None:
            return keep_definitions(program, wanted)
    return code


def _defines_first(text: str, name: str) -> bool:
    """Return whether an indented text begins with a program, and not with a body."""
    program = Program(next(iter(runs_of_lines(text)), ""))
    return name in program.bound and not program.returns


def _answer(completion: str) -> str | None:
    return answer_part(_ESCAPE.sub("", completion.replace("\r\n", "\n")))


def _extract(text: str, entry_point: str | None, used: Collection[str]) -> str | None:
    found = pieces(text, entry_point or "")
    chosen = choose(found, entry_point) if entry_point else None
    if entry_point and is_cut_off(text, entry_point, "" if chosen is None else found[chosen].code):
        return None
    if chosen is None:
        chosen = max(range(len(found)), key=lambda i: len(found[i].code), default=None)
    if chosen is None:
        return None
    code = with_others(found, chosen)
    return keep_definitions(code, {entry_point, *used} if entry_point else ()) or None


def _continued(prompt: str, body: str, entry_point: str, goes_on: bool = False) -> str | None:
    """Return a prompt followed by the body of its function; None if it is not a body."""
    prompt, body = prompt.strip("\n").rstrip(), body.strip("\n")
    if again := re.search(rf"^(?:async )?def {re.escape(entry_point)}\b", body, re.MULTILINE):
        body = body[: again.start()]
    last = prompt.rpartition("\n")[2]
    indent = last[: len(last) - len(last.lstrip())]
    # As it is; or with the indentation missing on all lines, or only on the first.
    forms = (body, textwrap.indent(textwrap.dedent(body), indent), indent + body.lstrip())
    runs = [next(iter(runs_of_lines(f"{prompt}\n{form}")), "") for form in forms]
    found = [run for run in runs if _has_body(run, entry_point, prompt.count("\n") + 1, goes_on)]
    return max(found, key=lambda run: run.count("\n"), default=None)


def _has_body(code: str, name: str, prompt_lines: int, any_body: bool) -> bool:
    """Return whether a function continues after the prompt and returns, unless any body will do."""
    program = Program(code)
    if name not in program.definitions or program.is_stub(name) or program.returns:
        return False
    function = program.definitions[name][-1].node
    if (function.end_lineno or 0) <= prompt_lines:
        return False
    return any_body or any(isinstance(n, ast.Return | ast.Yield) for n in ast.walk(function))


@dataclass(frozen=True)
class Piece:
    """A piece of Python.

    Attributes
    ----------
    code : str
        A program.
    finished : bool
        False if nothing says that it ends here: no closing fence, no text after it.
    """

    code: str
    finished: bool = True

    @cached_property
    def program(self) -> Program:
        """Its statements."""
        return Program(self.code)

    def names(self, name: str) -> bool:
        """Return whether it defines a name, at its top level or as a method."""
        return name in self.program.bound or name in self.program.methods

    def since(self, name: str) -> str:
        """Return its source, starting from the last definition of a function or class."""
        found = list(definition_of(name).finditer(self.code))
        return self.code[found[-1].start() :] if found else self.code


def pieces(text: str, entry_point: str | None = None) -> list[Piece]:
    """Return the pieces of Python in a text, in order.

    These are the contents of fenced blocks (:func:`~wmss_cli.programs.fences.fenced_blocks`). If
    there are none, or none defines the entry point, they are the runs of lines that are programs;
    also in a block that is not a program as a whole.
    """
    found: list[Piece] = []
    # Repeated blocks count at their last place.
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
    """Return the index of the piece that counts as the solution.

    It is the last that defines the entry point, since a model corrects its drafts. Pieces that only
    show the function's signature, without a body, do not count; nor does the beginning of an
    earlier piece that is repeated until the text ends.

    Returns
    -------
    int or None
        None if nothing defines the entry point.
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
    """Return the index of the last piece that reads input; if none does, of the longest."""
    reading = [i for i, piece in enumerate(found) if _reads_input(piece.code)]
    if reading:
        return reading[-1]
    return max(range(len(found)), key=lambda i: len(found[i].code), default=None)


def with_others(found: Sequence[Piece], chosen: int) -> str:
    """Return a piece together with others that define what it uses and does not define itself.

    If several pieces define a name, the last one before it counts; after it, the first that defines
    a function or class.
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
    """Join programs into one, with their future imports first, where Python requires them."""
    code = "\n".join(codes)
    future = "".join(dict.fromkeys(_FUTURE.findall(code)))
    return f"{future}{_FUTURE.sub('', code)}" if future else code


def is_cut_off(text: str, entry_point: str, chosen: str = "") -> bool:
    """Return whether a text ends within another definition of the entry point than the chosen one.

    A definition that repeats the chosen one as far as it goes is not another one.
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
    """Return the runs of lines that are programs, each as long as possible, in order.

    If all lines are indented alike, their indentation is removed. A long text is searched for about
    a second at most.
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
    """Return the number of lines before the first wrong one; None if there is none."""
    try:
        symbols("\n".join(lines))
    except SyntaxError as error:
        return min((error.lineno or 1) - 1, len(lines) - 1)
    return None


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def definition_of(name: str) -> re.Pattern[str]:
    """Return a pattern for the beginning of the definition of a function or class."""
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
