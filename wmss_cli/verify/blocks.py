"""Find the program in what a model wrote."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Sequence

from wmss_cli.verify.extract import extract_answer
from wmss_cli.verify.syntax import parse

# ``` or more, or ~~~; the closing fence is at least as long. An unclosed block is no block.
_OPENING = re.compile(
    r"(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[\w+#.-]*)[^\n`]*"
)
_CLOSING = re.compile(r"[ \t]*(?P<fence>`{3,}|~{3,})[`~]*[ \t\r]*")
_PYTHON = ("", "python", "python3", "py", "py3")
# Those of EvalPlus for a model that goes on with a file (evalplus/provider/utility.py): what
# begins after the body of a function.
_STOPS = (
    *("\nif __name__", "\ndef ", "\nprint(", "\nclass ", "\nimport ", "\nfrom ", "\nassert "),
    *("\n@", "\n```"),
)
# Runs of lines are parsed one by one: so many lines at most, and so many in all of them.
_MOST_LINES = 400
_MOST_PARSED_LINES = 100_000


def fenced_blocks(text: str) -> list[str]:
    """Return the Python of all fenced blocks, in their order.

    Blocks of another language are left out; one without a language counts as Python.
    """
    lines = text.split("\n")
    ends = [_CLOSING.fullmatch(line) for line in lines]
    # Of each line, the longest fence behind it that closes: one that nothing closes opens nothing.
    closing: list[dict[str, int]] = [{}]
    for end in reversed(ends):
        longest = closing[-1]
        if end and len(end["fence"]) > longest.get(end["fence"][0], 0):
            longest = {**longest, end["fence"][0]: len(end["fence"])}
        closing.append(longest)
    closing.reverse()

    blocks: list[str] = []
    opened: re.Match[str] | None = None
    inside: list[str] = []
    for number, line in enumerate(lines):
        if opened is not None:
            if (end := ends[number]) is None or not end["fence"].startswith(opened["fence"]):
                inside.append(line)
                continue
            if opened["language"].lower() in _PYTHON:
                code = "".join(f"{one}\n" for one in inside)
                # The block of an item of a list is indented as a whole.
                blocks.append(textwrap.dedent(code) if opened["indent"] else code)
            opened, inside = None, []
        elif found := _OPENING.fullmatch(line):
            fence = found["fence"]
            if closing[number + 1].get(fence[0], 0) >= len(fence):
                opened = found
    return blocks


def choose_block(blocks: Sequence[str], entry_point: str | None = None) -> str | None:
    """Return the block that counts as the solution.

    Of the blocks that define the entry point (of all, where none does) those that can be parsed
    (all, where none can), and of these the longest: examples of use and fragments are shorter
    than the solution. Of equally long ones the first.

    Parameters
    ----------
    blocks : sequence of str
        Programs.
    entry_point : str, optional
        Function or class that the tests use.

    Returns
    -------
    str or None
        None where there are no blocks.
    """
    candidates = list(blocks)
    if entry_point:
        candidates = [b for b in candidates if defines(b, entry_point)] or candidates
    candidates = [block for block in candidates if parses(block)] or candidates
    return max(candidates, key=len, default=None)


def extract_from_answer(completion: str, entry_point: str | None = None) -> str | None:
    """Return the program of a completion that thinks first, as records of AM-1.4M have them.

    Only the answer counts (:func:`~wmss_cli.verify.extract.extract_answer`): drafts inside the
    thinking do not. There, the block of :func:`choose_block`. An answer without any fence is
    a program itself where it can be parsed.

    Returns
    -------
    str or None
        None where there is no program.
    """
    answer = extract_answer(completion)
    if answer is None:
        return None
    block = choose_block(fenced_blocks(answer), entry_point)
    if block is not None:
        return block
    return answer if parses(answer) else None


def extract_code(completion: str, entry_point: str | None = None) -> str | None:
    r"""Return the program of a completion, cut and extracted as EvalPlus does.

    A fenced block where there is one (:func:`choose_block`), else the longest run of lines that
    can be parsed; of that :func:`keep_definitions`. Examples of use and a main part go.
    https://github.com/evalplus/evalplus, evalplus/sanitize.py

    Returns
    -------
    str or None
        None where nothing can be parsed.

    Examples
    --------
    >>> extract_code("Here it is:\ndef f(x):\n    return x\n\nprint(f(1))\nDone!", "f")
    'def f(x):\n    return x'
    """
    text = extract_answer(completion) or completion
    code = choose_block(fenced_blocks(text), entry_point) or text
    if not parses(code):
        code = longest_parsable(code) or ""
    return keep_definitions(code, entry_point) or None


def keep_definitions(code: str, entry_point: str | None = None) -> str:
    """Return the imports of a program, and the definitions that the entry point needs.

    Definitions are functions, classes and assignments at the top level. Without an entry point
    or where it is not defined, all of them stay.
    """
    tree = _parse(code)
    assert tree is not None, "the caller has parsed it"
    lines = code.splitlines()
    kept = [node for node in tree.body if isinstance(node, _KEPT)]
    names = [_bound(node) for node in kept]
    needed = {entry_point}
    if entry_point is None or not any(entry_point in bound for bound in names):
        needed |= {name for bound in names for name in bound}
    before = 0
    while len(needed) > before:
        before = len(needed)
        for node, bound in zip(kept, names, strict=True):
            if bound & needed:
                needed |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    parts = [
        "\n".join(lines[_first_line(node) - 1 : node.end_lineno])
        for node, bound in zip(kept, names, strict=True)
        if isinstance(node, _IMPORTS) or bound & needed
    ]
    return "\n".join(parts)


def complete(prompt: str, completion: str, entry_point: str) -> str:
    """Return the program that a prompt like those of HumanEval and its completion make.

    A completion that defines the entry point itself takes the place of the prompt's beginning
    of it; the imports and helpers above stay. One that goes on with the body is cut after it.

    Parameters
    ----------
    prompt : str
        The beginning of a program, up to the docstring of a function.
    completion : str
        What the model wrote.
    entry_point : str
        Name of that function.
    """
    code = extract_code(completion, entry_point)
    if code is not None and defines(code, entry_point):
        found = re.search(rf"^def {re.escape(entry_point)}\b", prompt, re.MULTILINE)
        return f"{prompt[: found.start()] if found else prompt}\n{code}"
    body = choose_block(fenced_blocks(completion)) or completion
    whole = prompt + body[: min((i for i in map(body.find, _STOPS) if i >= 0), default=None)]
    return whole if parses(whole) else longest_parsable(whole) or whole


def defines(code: str, name: str) -> bool:
    """Say whether a program defines a function, class or value of this name, or a method of it."""
    tree = _parse(code)
    if tree is None:
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name == name:
                return True
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name:
            return True
    return False


def parses(code: str) -> bool:
    """Say whether a text is a Python program."""
    return _parse(code) is not None


def longest_parsable(text: str) -> str | None:
    """Return the longest run of lines, without blank ones around it, that is a program.

    Of runs with equally many lines that hold something, the first. A long text of which hardly
    anything can be parsed is looked at no further than a second or so takes.
    """
    lines = text.splitlines()[:_MOST_LINES]
    filled = [0]
    for line in lines:
        filled.append(filled[-1] + bool(line.strip()))
    best, best_lines = None, 0
    parsed = 0
    for first in range(len(lines)):
        if not lines[first].strip():
            continue
        for end in range(len(lines), first, -1):
            count = filled[end] - filled[first]
            if count <= best_lines or parsed > _MOST_PARSED_LINES:
                break
            parsed += end - first
            if lines[end - 1].strip() and parses(run := "\n".join(lines[first:end])):
                best, best_lines = run, count
                break
    return best


_IMPORTS = (ast.Import, ast.ImportFrom)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_KEPT = (*_IMPORTS, *_DEFINITIONS, ast.Assign, ast.AnnAssign)


def _bound(node: ast.stmt) -> set[str | None]:
    """Return the names that a statement at the top level gives a value."""
    if isinstance(node, _DEFINITIONS):
        return {node.name}
    return {
        n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }


def _first_line(node: ast.stmt) -> int:
    """Return where a definition begins, with its decorators."""
    if isinstance(node, _DEFINITIONS):
        return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return node.lineno


def _parse(code: str) -> ast.Module | None:
    try:
        return parse(code)
    except SyntaxError:
        return None
