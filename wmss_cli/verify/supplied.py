"""What sites for programming tasks import before a class ``Solution``: models leave it out."""

from __future__ import annotations

import functools
import importlib

from wmss_cli.verify.definitions import Program

# In this order, where two have a name. LeetCode's, https://support.leetcode.com, "environment".
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


def supplied_code(program: str) -> str:
    r"""Return the imports that a program takes for granted; none where it has no ``Solution``.

    Only for names that it uses and does not define, so that nothing of Python's is hidden.

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
