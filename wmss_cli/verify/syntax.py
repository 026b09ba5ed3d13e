"""Python's parser, for code that nobody has read yet."""

from __future__ import annotations

import ast
import threading
import warnings

# CPython 3.11 counts the nesting of all threads' trees as one: now and then a SystemError.
_ONE_AT_A_TIME = threading.Lock()


def parse(code: str) -> ast.Module:
    """Parse code; for all threads.

    Raises
    ------
    SyntaxError
        It is no Python, or nested too deeply.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(code)
        except (ValueError, RecursionError, MemoryError) as error:
            raise SyntaxError(str(error) or type(error).__name__) from None
