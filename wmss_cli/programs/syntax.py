"""Python's parser for untrusted code, and the effects of each of its statements on names.

A statement sets names, uses them and changes their objects, when it runs and when it is called.
"""

from __future__ import annotations

import ast
import contextlib
import symtable
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

T = TypeVar("T")

# CPython 3.11 adds up the nesting of all threads' trees, which sometimes is a SystemError.
_ONE_AT_A_TIME = threading.RLock()
# Python refuses 4,300, since reading a number takes quadratic time: 0.1 s for this length.
_MOST_DIGITS = 100_000
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = (*FUNCTIONS, ast.ClassDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
_CHAIN = (ast.Attribute, ast.Subscript, ast.Starred)
# Methods that change their object, anywhere in a statement.
_CHANGING = frozenset(
    [
        *("add", "append", "appendleft", "clear", "discard", "extend", "extendleft", "insert"),
        *("pop", "popitem", "popleft", "register", "remove", "reverse", "rotate", "setdefault"),
        *("sort", "subtract", "update"),
    ]
)
# Functions called for their output, to end, or to run tests: they prepare nothing.
_SHOWING = frozenset(
    [
        *("print", "pprint", "display", "input", "read", "readline", "readlines", "write"),
        *("writelines", "flush", "sleep", "show", "run", "main", "exit", "_exit", "quit", "abort"),
        *("testmod", "testfile", "run_docstring_examples"),
    ]
)
_STREAMS = frozenset({"stdin", "stdout", "stderr", "argv"})


@contextlib.contextmanager
def long_integers() -> Iterator[None]:
    """Allow integers of up to 100,000 digits, for one thread at a time."""
    with _ONE_AT_A_TIME:
        before = sys.get_int_max_str_digits()
        sys.set_int_max_str_digits(_MOST_DIGITS)
        try:
            yield
        finally:
            sys.set_int_max_str_digits(before)


def parse(code: str) -> ast.Module:
    """Parse code, one thread at a time.

    Raises
    ------
    SyntaxError
        If it is not Python, or is nested too deeply.
    """
    return _read(lambda: ast.parse(code))


def parses(code: str) -> bool:
    """Return whether a text is a Python program, or the body of a function."""
    try:
        symbols(code)
    except SyntaxError:
        return False
    return True


def symbols(code: str) -> symtable.SymbolTable:
    """Return the names in each scope of a program, as Python's compiler resolves them.

    Raises
    ------
    SyntaxError
        If it is not Python, is nested too deeply, or its names cannot be resolved.
    """
    return _read(lambda: symtable.symtable(code, "solution.py", "exec"))


def _read(reader: Callable[[], T]) -> T:
    with long_integers(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return reader()
        except (ValueError, RecursionError, MemoryError) as error:
            raise SyntaxError(str(error) or type(error).__name__) from None


@dataclass(frozen=True)
class Statement:
    """A statement at the top level, and its source."""

    node: ast.stmt
    text: str

    @cached_property
    def bound(self) -> frozenset[str]:
        """Names that it gives a value."""
        return bound_names(self._table)

    @cached_property
    def used(self) -> frozenset[str]:
        """Global names that it refers to, also when what it defines is called."""
        return global_names(self._table)

    @cached_property
    def defined(self) -> frozenset[str]:
        """Names that it defines: all that it binds, except to the result of a call of that name."""
        if not isinstance(self.node, ast.Assign | ast.AnnAssign):
            return self.bound
        calls = {n.func.id for n in self._calls if isinstance(n.func, ast.Name)}
        return self.bound - calls

    @cached_property
    def defined_inside(self) -> frozenset[str]:
        """Functions, classes and modules that are defined in a block."""
        return frozenset(n.name for n in self._executed if isinstance(n, DEFINITIONS))

    @cached_property
    def imports(self) -> bool:
        """Whether it imports anything when it runs."""
        return any(isinstance(node, _IMPORTS) for node in self._executed)

    @cached_property
    def returns(self) -> bool:
        """Whether it returns outside a function."""
        return any(isinstance(node, ast.Return) for node in self._executed)

    @cached_property
    def is_main_part(self) -> bool:
        """Whether it tests if the program is run as a script."""
        return isinstance(self.node, ast.If) and any(
            isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(self.node.test)
        )

    @cached_property
    def reads_streams(self) -> bool:
        """Whether it reads input or replaces the streams, like the main part of a script."""
        for node in self._executed:
            if isinstance(node, ast.Name) and node.id == "input":
                return True
            if isinstance(node, ast.Attribute) and node.attr in _STREAMS:
                return True
        return False

    @cached_property
    def started(self) -> frozenset[str]:
        """Names in calls and decorators: of everything that runs, or may run, when it runs."""
        run: list[ast.AST] = list(self._calls)
        run += getattr(self.node, "decorator_list", [])
        return frozenset(n.id for one in run for n in ast.walk(one) if isinstance(n, ast.Name))

    @cached_property
    def handled(self) -> frozenset[str]:
        """Names that it refers to when it runs, except to store into them or call their methods."""
        owners = {id(n.value) for n in self._executed if isinstance(n, ast.Attribute)}
        for call in self._calls:
            if isinstance(call.func, ast.Name) and call.func.id in ("setattr", "delattr"):
                owners.update(map(id, call.args[:1]))
        return frozenset(
            n.id for n in self._executed if isinstance(n, ast.Name) and id(n) not in owners
        )

    @cached_property
    def called(self) -> frozenset[str]:
        """Functions called by statements of their own, except those that print, exit or test."""
        return frozenset(
            node.value.func.id
            for node in self._executed
            if isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Name)
            and node.value.func.id not in _SHOWING
        )

    @cached_property
    def changed(self) -> frozenset[str]:
        """Names whose objects it changes, or may change, when it runs."""
        changed = set(_changes(self._executed))
        if isinstance(self.node, DEFINITIONS):
            # A decorator may register its function, and a class may be found among subclasses.
            changed.update(
                _root(d) for d in self.node.decorator_list if isinstance(_called(d), _CHAIN)
            )
            if isinstance(self.node, ast.ClassDef):
                changed.update(map(_root, self.node.bases))
        for node in self._executed:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                changed.update(_handed(node.value))
        return frozenset(changed - {""})

    @cached_property
    def aliases(self) -> dict[str, set[str]]:
        """New names for objects or their parts, each with the names of these objects."""
        found: dict[str, set[str]] = {}
        for node in self._executed:
            match node:
                case ast.Assign(targets=targets, value=value):
                    of = {_root(value)} if isinstance(value, (ast.Name, *_CHAIN)) else set()
                case ast.For(target=target, iter=value):
                    targets = [target]
                    of = {n.id for n in ast.walk(value) if isinstance(n, ast.Name)}
                case _:
                    continue
            for part in (n for target in targets for n in ast.walk(target)):
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    found.setdefault(part.id, set()).update(of)
        return found

    @cached_property
    def changed_when_called(self) -> frozenset[str]:
        """Global names that its functions change when they are called."""
        declared = {
            n for node in ast.walk(self.node) if isinstance(node, ast.Global) for n in node.names
        }
        return self.used & (declared | set(_changes(ast.walk(self.node))))

    @cached_property
    def _calls(self) -> list[ast.Call]:
        return [node for node in self._executed if isinstance(node, ast.Call)]

    @cached_property
    def _executed(self) -> list[ast.AST]:
        return list(_executed(self.node))

    @cached_property
    def _table(self) -> symtable.SymbolTable:
        return symbols(self.text)


def split(code: str) -> Iterator[tuple[ast.stmt, str]]:
    """Yield the top-level statements, each with its source, including decorators."""
    lines = [line.encode() for line in code.split("\n")]
    for node in parse(code).body:
        first, start = node.lineno, node.col_offset
        if isinstance(node, DEFINITIONS) and node.decorator_list:
            # The @ sign precedes the node.
            first, start = min(d.lineno for d in node.decorator_list), 0
        assert node.end_lineno is not None
        part = lines[first - 1 : node.end_lineno]
        part[-1] = part[-1][: node.end_col_offset]
        part[0] = part[0][start:]
        yield node, b"\n".join(part).decode()


def bound_names(table: symtable.SymbolTable) -> frozenset[str]:
    """Return the names that a scope gives a value."""
    found = table.get_symbols()
    return frozenset(s.get_name() for s in found if s.is_assigned() or s.is_imported())


def global_names(table: symtable.SymbolTable) -> frozenset[str]:
    """Return the names of the program that a scope and those inside refer to."""
    top = table.get_type() == "module"
    names = {
        s.get_name() for s in table.get_symbols() if (s.is_referenced() if top else s.is_global())
    }
    return frozenset(names.union(*map(global_names, table.get_children())))


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run with a statement, or that it passes on: no bodies of ``def``."""
    left = [node]
    while left:
        node = left.pop()
        yield node
        body = node.body if isinstance(node, FUNCTIONS) else ()
        left += [child for child in ast.iter_child_nodes(node) if child not in body]


def _changes(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the names whose objects are stored into, or changed by a method."""
    for node in nodes:
        match node:
            case (
                ast.Attribute(ctx=ast.Store() | ast.Del())
                | ast.Subscript(ctx=ast.Store() | ast.Del())
            ):
                yield _root(node)
            case ast.Name(id=name, ctx=ast.Del()):
                yield name
            case ast.Call(func=ast.Attribute(attr=method, value=owner)) if method in _CHANGING:
                yield _root(owner)


def _handed(call: ast.Call) -> Iterator[str]:
    """Yield what a call in a statement of its own may change: its owner and its arguments."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else _root(call.func)
    if name in _SHOWING:
        return
    if isinstance(call.func, ast.Attribute):
        yield _root(call.func)
    for argument in call.args:
        yield _root(argument)


def _called(node: ast.expr) -> ast.expr:
    return node.func if isinstance(node, ast.Call) else node


def _root(node: ast.expr) -> str:
    """Return the name at the beginning of ``a.b[0].c()``; empty if there is none."""
    while isinstance(node, (*_CHAIN, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def says_nothing(node: ast.stmt) -> bool:
    """Return whether a statement in a function is only a placeholder."""
    match node:
        case ast.Pass() | ast.Expr(value=ast.Constant() | ast.Name()):
            return True
        case ast.Raise(exc=ast.Name(id=name) | ast.Call(func=ast.Name(id=name))):
            return name == "NotImplementedError"
        case ast.FunctionDef(body=body) | ast.AsyncFunctionDef(body=body):
            return all(map(says_nothing, body))
    return False
