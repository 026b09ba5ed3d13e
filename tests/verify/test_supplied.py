"""What is there without an import, as on sites for programming tasks."""

from __future__ import annotations

from wmss_cli.verify.supplied import supplied_code


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
