"""Python's parser, for code that nobody has read yet."""

from __future__ import annotations

import ast
import contextlib
import symtable
import sys
import threading
import warnings
from collections.abc import Iterator

# CPython 3.11 counts the nesting of all threads' trees as one: now and then a SystemError.
_ONE_AT_A_TIME = threading.RLock()
# Python refuses 4,300, since reading a number takes time with the square of its length: 0.1 s here.
_MOST_DIGITS = 100_000


@contextlib.contextmanager
def long_integers() -> Iterator[None]:
    """Have integers of up to 100,000 digits read and written; for one thread at a time."""
    with _ONE_AT_A_TIME:
        before = sys.get_int_max_str_digits()
        sys.set_int_max_str_digits(_MOST_DIGITS)
        try:
            yield
        finally:
            sys.set_int_max_str_digits(before)


def parse(code: str) -> ast.Module:
    """Parse code; for all threads.

    Raises
    ------
    SyntaxError
        It is no Python, or nested too deeply.
    """
    with long_integers(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(code)
        except (ValueError, RecursionError, MemoryError) as error:
            raise SyntaxError(str(error) or type(error).__name__) from None


def parses(code: str) -> bool:
    """Say whether a text is a Python program, or the body of a function."""
    try:
        symbols(code)
    except SyntaxError:
        return False
    return True


def symbols(code: str) -> symtable.SymbolTable:
    """Return the names of each scope of a program, as Python's compiler resolves them.

    Raises
    ------
    SyntaxError
        It is no Python, nested too deeply, or its names cannot be resolved.
    """
    with long_integers(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return symtable.symtable(code, "solution.py", "exec")
        except (ValueError, RecursionError, MemoryError) as error:
            raise SyntaxError(str(error) or type(error).__name__) from None
