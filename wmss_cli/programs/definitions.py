"""The names that a program defines, and the part of it that a function needs.

A model's program often contains more than the tested function: examples of use, its own tests, a
main part that reads input. These are removed. What the function needs stays, in order: imports,
definitions, and statements that set or change what it uses.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
from collections.abc import Collection, Mapping, Set
from functools import cached_property

from wmss_cli.programs.syntax import (
    DEFINITIONS,
    FUNCTIONS,
    Statement,
    bound_names,
    global_names,
    says_nothing,
    split,
    symbols,
)

_BLOCKS = (ast.For, ast.AsyncFor, ast.While, ast.If, ast.With, ast.AsyncWith, ast.Try, ast.Match)
# Functions that give access to names that do not appear in the code.
_REACHING = frozenset({"globals", "vars", "eval", "exec"})
_BUILTINS = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__"}
# What sites for programming tasks import before a class ``Solution``, and models leave out. If two
# modules have a name, the first counts. LeetCode's, https://support.leetcode.com, "environment".
_MODULES = ("typing", "collections", "heapq", "bisect", "itertools", "functools", "math", "string")
_BY_NAME = ("array", "copy", "datetime", "operator", "random", "re", "statistics", "sys")
_NODES = {
    "ListNode": (
        "class ListNode:\n    def __init__(self, val=0, next=None):\n"
        "        self.val, self.next = val, next\n"
    ),
    "TreeNode": (
        "class TreeNode:\n    def __init__(self, val=0, left=None, right=None):\n"
        "        self.val, self.left, self.right = val, left, right\n"
    ),
}


def keep_definitions(code: str, wanted: Collection[str]) -> str:
    r"""Return the part of a program that some functions need.

    Imports stay, also inside ``try`` and ``if``. So does what sets or changes the value of a
    needed name (``table[0] = 1``, ``f.memo = {}``, a loop that fills a list, a call of a function
    that does so), and what configures an imported module (``sys.setrecursionlimit(…)``).
    Assertions, output, ``if __name__ == "__main__":`` and calls of a wanted function are removed.

    Parameters
    ----------
    code : str
        A program.
    wanted : collection of str
        Functions or classes. If the program has none of them, all definitions stay.

    Examples
    --------
    >>> keep_definitions("n = int(input())\ndef f(n):\n    return n\nprint(f(n))", ["f"])
    'def f(n):\n    return n'
    """
    program = Program(code)
    return "\n".join(program.statements[i].text for i in program.needed_by(wanted))


def defines(code: str, name: str) -> bool:
    """Return whether a program defines a function, class or value of this name at its top level."""
    try:
        return name in Program(code).bound
    except SyntaxError:
        return False


def names_used(code: str) -> frozenset[str]:
    """Return the names that code takes from elsewhere, except Python's own.

    Raises
    ------
    SyntaxError
        If it cannot be compiled.
    """
    table = symbols(code)
    return global_names(table) - bound_names(table) - _BUILTINS


class Program:
    """A program as its top-level statements.

    Parameters
    ----------
    code : str
        Its source.

    Raises
    ------
    SyntaxError
        If it is not Python.
    """

    def __init__(self, code: str) -> None:
        code = code.replace("\r\n", "\n").replace("\r", "\n")
        symbols(code)
        self.statements = [Statement(node, text) for node, text in split(code)]

    @cached_property
    def bound(self) -> frozenset[str]:
        """Names that get a value at the top level, other than from a call of their old value."""
        return frozenset[str]().union(*(s.defined for s in self.statements))

    @cached_property
    def missing(self) -> frozenset[str]:
        """Names that are used, but neither get a value nor are Python's own."""
        used = frozenset[str]().union(*(s.used for s in self.statements))
        return used - frozenset().union(*(s.bound for s in self.statements)) - _BUILTINS

    def needed_by(self, wanted: Collection[str]) -> list[int]:
        """Return the indices of the statements that stay; see :func:`keep_definitions`."""
        known = set(wanted) & self.bound or set(self.bound)
        examples = self._users_of(known)
        kept: set[int] = set()
        serving: dict[str, set[int]] = {}
        for number, statement in enumerate(self.statements):
            if self._always_stays(statement, examples):
                kept.add(number)
            for name in self._served(statement, examples):
                serving.setdefault(name, set()).add(number)
        needed: set[str] = set()
        new = known.union(*(self.statements[i].used for i in kept))
        while new:
            needed |= new
            found = {i for name in new for i in serving.get(name, ())} - kept
            kept |= found
            new = set[str]().union(*(self.statements[i].used for i in found))
            if needed & _REACHING:
                new |= self.definitions.keys()
            new -= needed
        return sorted(kept)

    def _always_stays(self, statement: Statement, examples: Set[str]) -> bool:
        """Return whether a statement imports something, or configures what is imported."""
        if statement.is_main_part:
            return False
        if statement.imports or isinstance(statement.node, DEFINITIONS):
            return statement.imports
        is_example = statement.handled & examples or statement.reads_streams
        return not is_example and bool((statement.changed | statement.called) & self._imported)

    def _served(self, statement: Statement, examples: Set[str]) -> Set[str]:
        """Return the names that make a statement stay, if one of them is needed."""
        if statement.is_main_part or isinstance(statement.node, ast.Assert | ast.Raise):
            return frozenset()
        is_example = bool(statement.handled & examples)
        runs = isinstance(statement.node, (*_BLOCKS, ast.Expr))
        if runs and (is_example or statement.reads_streams):
            return statement.defined_inside
        names = statement.bound | _closure(statement.changed, self._owners)
        if is_example or isinstance(statement.node, ast.ClassDef):
            return names
        reached = _closure(statement.started & self._values.keys(), self._uses)
        return names.union(
            *(s.changed_when_called for name in reached for s in self._values.get(name, ()))
        )

    def _users_of(self, names: Set[str]) -> Set[str]:
        """Return names, and the names of what uses them when it is called."""
        users: dict[str, set[str]] = {}
        for name, used in self._uses.items():
            for one in used:
                users.setdefault(one, set()).add(name)
        return _closure(names, users)

    @cached_property
    def _imported(self) -> frozenset[str]:
        return frozenset[str]().union(*(s.bound for s in self.statements if s.imports))

    @cached_property
    def _owners(self) -> dict[str, set[str]]:
        """The objects' names, by each name that is a part of an object or another name for it."""
        found: dict[str, set[str]] = {}
        for statement in self.statements:
            for name, owners in statement.aliases.items():
                found.setdefault(name, set()).update(owners)
        return found

    @cached_property
    def _uses(self) -> dict[str, set[str]]:
        return {
            name: set[str]().union(*(s.used for s in found)) for name, found in self._values.items()
        }

    @cached_property
    def methods(self) -> frozenset[str]:
        """Names of the methods of its classes."""
        classes = (s.node for s in self.statements if isinstance(s.node, ast.ClassDef))
        return frozenset(n.name for c in classes for n in c.body if isinstance(n, FUNCTIONS))

    @cached_property
    def definitions(self) -> dict[str, list[Statement]]:
        """Functions and classes at the top level, in lists by name."""
        found: dict[str, list[Statement]] = {}
        for statement in self.statements:
            if isinstance(statement.node, DEFINITIONS):
                found.setdefault(statement.node.name, []).append(statement)
        return found

    @cached_property
    def returns(self) -> bool:
        """Whether it returns at its top level, which only the body of a function can do."""
        return any(s.returns for s in self.statements)

    def is_stub(self, name: str) -> bool:
        """Return whether it only shows a function's signature: its body does nothing."""
        found = self.definitions.get(name, [])
        return bool(found) and all(map(says_nothing, getattr(found[-1].node, "body", [])))

    @cached_property
    def _values(self) -> dict[str, list[Statement]]:
        found: dict[str, list[Statement]] = {}
        for statement in self.statements:
            if isinstance(statement.node, (*DEFINITIONS, ast.Assign, ast.AnnAssign)):
                for name in statement.bound:
                    found.setdefault(name, []).append(statement)
        return found


def _closure(names: Set[str], links: Mapping[str, Set[str]]) -> set[str]:
    """Return names, and everything that can be reached from them."""
    reached: set[str] = set()
    new = set(names)
    while new:
        reached |= new
        new = set[str]().union(*(links.get(name, ()) for name in new)) - reached
    return reached


def supplied_code(program: str) -> str:
    r"""Return the imports that a program takes for granted; none if it has no ``Solution``.

    Only names that it uses and does not define are imported, so that none of Python's are hidden.

    Examples
    --------
    >>> supplied_code("class Solution:\n    def f(self, a: List[int]): return len(a)")
    'from typing import List\n'
    """
    try:
        read = Program(program)
    except SyntaxError:
        return ""
    if "Solution" not in read.definitions:
        return ""
    known = _imports() | _NODES
    return "".join(known[name] for name in sorted(read.missing & known.keys()))


@functools.cache
def _imports() -> dict[str, str]:
    lines = {name: f"import {name}\n" for name in (*_MODULES, *_BY_NAME)}
    for module in reversed(_MODULES):
        contents = importlib.import_module(module)
        for name in getattr(contents, "__all__", dir(contents)):
            if not name.startswith("_"):
                lines[name] = f"from {module} import {name}\n"
    return lines
