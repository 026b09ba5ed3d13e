"""The program in a completion: of the part that counts the pieces, of these what is tested."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Collection

from wmss_cli.core.tags import answer_part
from wmss_cli.programs.definitions import Program, defines, keep_definitions
from wmss_cli.programs.fences import dedented, fenced_blocks
from wmss_cli.programs.pieces import (
    Piece,
    choose,
    choose_script,
    definition_of,
    is_cut_off,
    joined,
    pieces,
    runs_of_lines,
    with_others,
)
from wmss_cli.programs.syntax import parses

# What terminals show in colour.
_ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def extract_from_answer(completion: str, entry_point: str | None = None) -> str | None:
    """Return the program of a record, as it stands.

    Only the answer counts (:func:`~wmss_cli.core.tags.answer_part`): drafts inside the
    thinking do not, nor does what is unfinished. There, the piece that defines the entry point
    (:func:`~wmss_cli.programs.pieces.choose`), or without an entry point the one that reads input;
    with the pieces that define what it uses. A block that is no program is returned as it is.

    Returns
    -------
    str or None
        None where there is no program.
    """
    text = _answer(completion)
    if text is None:
        return None
    if entry_point:
        # Some records call it Solution().name.
        entry_point = re.findall(r"\w+|$", entry_point.rstrip("()"))[-2:][0]
    codes = [dedented(block.code) for block in fenced_blocks(text)]
    last = [code for code in codes if entry_point and definition_of(entry_point).search(code)]
    broken = last[-1] if last else max(codes, key=len, default="")
    if codes and not parses(broken) and (last or not any(map(parses, codes))):
        return broken  # to be refused as it is: what of it is a program is another one
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

    The piece that defines the entry point (:func:`~wmss_cli.programs.pieces.choose`), with the
    pieces that define what it uses; of these what the tests need
    (:func:`~wmss_cli.programs.definitions.keep_definitions`). Examples of use and a main part are
    removed, as in EvalPlus: https://github.com/evalplus/evalplus, evalplus/sanitize.py

    Parameters
    ----------
    completion : str
        What the model wrote.
    entry_point : str, optional
        Function or class that is tested.
    used : collection of str
        Other names that the tests use.

    Returns
    -------
    str or None
        None where the answer is unfinished or holds no program.

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
    """Return the program that a prompt like those of HumanEval and its completion make.

    A completion that defines the entry point itself takes the place of the prompt's beginning
    of it; the imports and helpers above stay. One that goes on with the body ends before it
    defines the entry point again.

    Parameters
    ----------
    prompt : str
        The beginning of a program, up to the docstring of a function.
    completion : str
        What the model wrote.
    entry_point : str
        Name of that function.
    used : collection of str
        Other names that the tests use.

    Returns
    -------
    str or None
        None where the answer is unfinished or holds neither the function nor its body.
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
    """Say whether a text that is indented begins with a program, and not with a body."""
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
    """Return a prompt with the body of its function behind it; None where it is no body."""
    prompt, body = prompt.strip("\n").rstrip(), body.strip("\n")
    if again := re.search(rf"^(?:async )?def {re.escape(entry_point)}\b", body, re.MULTILINE):
        body = body[: again.start()]
    last = prompt.rpartition("\n")[2]
    indent = last[: len(last) - len(last.lstrip())]
    # As it is; where the indentation of all lines was cut off, or of the first one alone.
    forms = (body, textwrap.indent(textwrap.dedent(body), indent), indent + body.lstrip())
    runs = [next(iter(runs_of_lines(f"{prompt}\n{form}")), "") for form in forms]
    found = [run for run in runs if _has_body(run, entry_point, prompt.count("\n") + 1, goes_on)]
    return max(found, key=lambda run: run.count("\n"), default=None)


def _has_body(code: str, name: str, prompt_lines: int, any_body: bool) -> bool:
    """Say whether a function goes on behind the prompt and, if not any body will do, returns."""
    program = Program(code)
    if name not in program.definitions or program.is_stub(name) or program.returns:
        return False
    function = program.definitions[name][-1].node
    if (function.end_lineno or 0) <= prompt_lines:
        return False
    return any_body or any(isinstance(n, ast.Return | ast.Yield) for n in ast.walk(function))
