"""What of a program a function needs: its definitions and their state."""

from __future__ import annotations

import ast

import pytest

from wmss_cli.programs.definitions import (
    Program,
    defines,
    keep_definitions,
    names_used,
    supplied_code,
)

# Each with a function f that doubles.
NEEDED = {
    "import inside try": "try:\n    from math import prod\nexcept ImportError:\n    prod = None\n"
    "def f(x): return prod([2, x])",
    "import inside if": "import sys\nif sys.version_info > (3,):\n    import math\n"
    "def f(x): return math.prod([2, x])",
    "definition inside if": "if True:\n    def f(x): return 2 * x\nelse:\n    f = None",
    "a constant": "K = 2\ndef f(x): return K * x",
    "one of two": "a, b = 1, 2\ndef f(x): return b * x",
    "a loop that fills a table": "T = [0] * 50\nfor i in range(50):\n    T[i] = 2 * i\n"
    "def f(x): return T[x]",
    "a loop that appends": "T = []\nfor i in range(50): T.append(2 * i)\ndef f(x): return T[x]",
    "a part of a table": "T = [[0], [0]]\nrow = T[1]\nrow[0] = 2\ndef f(x): return T[1][0] * x",
    "each part of a table": "T = [[0], [0]]\nfor row in T:\n    row[0] = 2\n"
    "def f(x): return T[1][0] * x",
    "a function that fills a table": "T = {}\ndef fill(n):\n    for i in range(n): T[i] = 2 * i\n"
    "fill(50)\ndef f(x): return T[x]",
    "a function that is given a table": "T = {}\ndef fill(t):\n"
    "    for i in range(50): t[i] = 2 * i\nfill(T)\ndef f(x): return T[x]",
    "a function that sets a global": "def start():\n    global K\n    K = 2\nstart()\n"
    "def f(x): return K * x",
    "a module that changes it": "import heapq\nH = [3, 2]\nheapq.heapify(H)\n"
    "def f(x): return H[0] * x",
    "an attribute of the function": "def f(x): return f.k * x\nf.k = 2",
    "a method of its attribute": "def f(x): return f.k[0] * x\nf.k = []\nf.k.append(2)",
    "setattr": "def f(x): return f.k * x\nsetattr(f, 'k', 2)",
    "wrapped": "def twice(g): return lambda x: g(x) + g(x)\ndef f(x): return x\nf = twice(f)",
    "a decorator": "def twice(g): return lambda x: 2 * g(x)\n@twice\ndef f(x): return x",
    "a registry": "R = {}\ndef entry(g):\n    R[g.__name__] = g\n    return g\n"
    "@entry\ndef double(x): return 2 * x\ndef f(x): return R['double'](x)",
    "single dispatch": "from functools import singledispatch\n@singledispatch\n"
    "def g(x): return 0\n@g.register\ndef _(x: int): return 2 * x\ndef f(x): return g(x)",
    "subclasses": "class A: pass\nclass B(A): k = 2\ndef f(x): return A.__subclasses__()[0].k * x",
    "globals()": "def double(x): return 2 * x\ndef f(x): return globals()['double'](x)",
    "recursion": "import sys\nsys.setrecursionlimit(9000)\n"
    "def g(x): return 0 if x == 0 else 2 + g(x - 1)\ndef f(x): return g(x + 3000) - 6000",
    "precision": "from decimal import Decimal, getcontext\ngetcontext().prec = 60\n"
    "def f(x): return int(Decimal(10) ** 50 + 2 * x - Decimal(10) ** 50)",
    "a method": "class A:\n    def go(self, x): return self.k * x\na = A()\na.k = 2\nf = a.go",
    "partial": "from functools import partial\nfrom operator import mul\nf = partial(mul, 2)",
    "semicolons": "import math; k = [1]; k.append(1); m = len(k)\ndef f(x): return m * x",
    "letters of several bytes": "s = 'ééé'; k = 2\ndef f(x): return k * x",
    "a form feed": "K = 2\n\x0cdef f(x): return K * x",
    "a line separator": "s = 'a\u2028b'\nK = 2\ndef f(x): return K * x",
    "walrus": "if (k := 2) > 1:\n    pass\ndef f(x): return k * x",
    "del": "T = [1, 2]\ndel T[0]\ndef f(x): return T[0] * x",
}
NOT_NEEDED = {
    "input": "n = int(input())\nprint(f(n))",
    "input of the name of an argument": "x = int(input())",
    "a loop over input": "for _ in range(int(input())): print(f(int(input())))",
    "an endless loop": "while True:\n    try: print(f(int(input())))\n    except ValueError: break",
    "wrong assertions": "assert f(2) == 5",
    "wrong assertions in a loop": "for x, y in [(1, 3)]:\n    assert f(x) == y",
    "a main part": "if __name__ == '__main__':\n    import nothing_of_this_name",
    "main": "def main():\n    print(f(int(input())))\nmain()",
    "the exit of main": "import sys\ndef main():\n    f(2)\nsys.exit(main())",
    "exit": "exit()",
    "SystemExit": "raise SystemExit",
    "doctest": "import doctest\ndoctest.testmod()",
    "unittest": "import unittest\nclass T(unittest.TestCase):\n"
    "    def test(self): self.assertEqual(f(2), 5)\nunittest.main()",
    "a test function": "def test_f():\n    assert f(2) == 5\ntest_f()",
    "a table of results": "results = []\nfor i in range(9): results.append(1 / (f(i) - f(i)))",
    "a stream": "import sys\nsys.stdin = open('input.txt')",
    "a thread": "import threading\nthreading.Thread(target=lambda: f(input())).start()",
}


@pytest.mark.parametrize("what", NEEDED)
def test_what_a_function_needs_stays(what: str) -> None:
    names: dict[str, object] = {}
    exec(keep_definitions(NEEDED[what], ["f"]), names)
    function = names["f"]
    assert callable(function)
    assert function(21) == 42


@pytest.mark.parametrize("what", NOT_NEEDED)
def test_what_only_uses_it_goes(what: str) -> None:
    code = f"memo = {{}}\ndef f(x):\n    memo[x] = 2 * x\n    return memo[x]\n{NOT_NEEDED[what]}\n"
    names: dict[str, object] = {}
    exec(keep_definitions(code, ["f"]), names)
    function = names["f"]
    assert callable(function)
    assert function(21) == 42


def test_other_functions_go() -> None:
    code = "import math\nK = 1\ndef g(): return K\ndef h(): pass\ndef f(x): return math.pi"
    assert keep_definitions(code, ["f"]) == "import math\ndef f(x): return math.pi"
    assert keep_definitions(code, ["f", "g"]) == code.replace("\ndef h(): pass", "")
    assert keep_definitions(code, ["nothing"]) == code


def test_the_source_stays_as_it_is() -> None:
    code = "@a.b(\n  1)  # why\ndef f(x):\n    # that\n    return x  # so"
    assert keep_definitions(code, ["f"]) == code.removesuffix("  # so")
    assert ast.parse(keep_definitions("x = 1; y = 2\ndef f(): return x\n", ["f"]))


def test_what_is_defined() -> None:
    assert defines("f = len", "f")
    assert defines("class f: pass", "f")
    assert not defines("f = f(3)", "f")
    assert not defines("class S:\n    def f(self): pass", "f")
    assert not defines("def f(", "f")
    assert not defines("-" * 20_000 + "1", "f")


def test_what_tests_use_of_a_program() -> None:
    code = "import math\ndef check(g):\n    assert g(Pair(1)) == math.pi\ncheck(f)\nx = sum([])"
    assert names_used(code) == {"Pair", "f"}


@pytest.mark.timeout(60)
def test_a_long_chain_takes_no_time() -> None:
    chain = "v0 = 1\n" + "".join(f"v{i} = v{i - 1}\n" for i in range(1, 1000))
    assert len(Program(f"{chain}def f(): return v999").needed_by(["f"])) == 1001


def test_only_what_a_solution_uses_and_does_not_define() -> None:
    program = (
        "from math import *\nclass Solution:\n"
        "    def f(self, a: List[int], n: Optional[ListNode]):\n        heap = deque(a)\n"
        "        return min(heappop(heap), bisect.bisect(a, inf), pow(2, 3))"
    )
    names: dict[str, object] = {}
    code = supplied_code(program)
    exec(code, names)
    assert {"List", "Optional", "ListNode", "deque", "heappop", "bisect", "inf"} <= names.keys()
    assert "min" not in code
    assert "pow" not in code


def test_nothing_for_others() -> None:
    assert supplied_code("def f(a: List[int]): return a") == ""
    assert supplied_code("class Solution: pass") == ""
    assert supplied_code("class Solution(") == ""
