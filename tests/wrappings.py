"""The solutions of the public benchmarks in the ways in which models wrap programs.

``python tests/wrappings.py`` checks all of them, right ones and mutants, and prints a table.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmss_cli.core.verdict import Verdict
from wmss_cli.programs.cases import CodeTests, humaneval_tests, mbpp_tests
from wmss_cli.programs.check import Trial, check_programs
from wmss_cli.programs.completion import complete, extract_code
from wmss_cli.programs.sandbox import find_level, limits_of

COUNTS = {"humaneval": 164, "mbpp": 500, "mbpp_sanitized": 257}
TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Solution:
    """A problem with a program; of HumanEval the prompt that the program begins with."""

    id: str
    program: str
    tests: CodeTests
    prompt: str = ""

    @property
    def entry_point(self) -> str:
        assert self.tests.entry_point is not None
        return self.tests.entry_point

    @property
    def examples(self) -> str:
        """The tests as a model repeats them behind its program."""
        return self.tests.code

    def found_in(self, completion: str) -> str | None:
        """Return what the evaluation runs."""
        if self.prompt:
            return complete(self.prompt, completion, self.entry_point, self.tests.used)
        return extract_code(completion, self.entry_point, self.tests.used)

    def mutant(self) -> Solution:
        """Return the same with functions that return something else."""
        tree = _Mutation().visit(ast.parse(self.program))
        return Solution(self.id, ast.unparse(tree), self.tests, self.prompt)

    def renamed(self) -> str:
        """Return the program with another name in place of the entry point's."""
        tree = ast.parse(self.program)
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id == self.entry_point:
                node.id = "inner_function"
            elif isinstance(node, ast.FunctionDef) and node.name == self.entry_point:
                node.name = "inner_function"
        return ast.unparse(tree)


class _Mutation(ast.NodeTransformer):
    def visit_Return(self, node: ast.Return) -> ast.stmt:
        value = ast.unparse(node.value) if node.value else "None"
        return ast.parse(f"def f(): return [{value}, 'mutated']").body[0].body[0]  # type: ignore[attr-defined]


def solutions(folder: Path, name: str) -> list[Solution]:
    """Read the canonical solutions of the test rows of a benchmark."""
    with (folder / f"{name}.jsonl").open(encoding="utf-8") as file:
        rows: list[dict[str, Any]] = [json.loads(line) for line in file]
    if name == "humaneval":
        return [
            Solution(
                row["id"],
                row["prompt"] + row["canonical_solution"],
                humaneval_tests(row["test"], row["entry_point"]),
                row["prompt"],
            )
            for row in rows
        ]
    return [
        Solution(
            row["id"],
            row["code"].replace("\r\n", "\n"),
            mbpp_tests(
                row["test_list"], row.get("test_setup_code", ""), row.get("test_imports", ())
            ),
        )
        for row in rows
        if row["split"] == "test"
    ]


def _body(solution: Solution) -> str | None:
    """Return the lines of the entry point's body; of MBPP there is no prompt to put them behind."""
    if not solution.prompt:
        return None
    if solution.program.startswith(solution.prompt):
        return solution.program.removeprefix(solution.prompt)
    (function,) = [
        n
        for n in ast.parse(solution.program).body
        if isinstance(n, ast.FunctionDef) and n.name == solution.entry_point
    ]
    return textwrap.indent("\n".join(map(ast.unparse, function.body[1:])), "    ") + "\n"


def _fenced(code: str, language: str = "python", fence: str = "```") -> str:
    return f"{fence}{language}\n{code.rstrip()}\n{fence}\n"


_DRAFT = (
    "<think>\nLet me see. A first idea:\n\n```python\ndef f(x):\n    return None\n```\n</think>\n"
)


def _chat(s: Solution) -> str:
    return (
        f"{_DRAFT}\nSure! Here's a solution to the problem:\n\n{_fenced(s.program)}\n"
        f"### Explanation\n\n1. The function `{s.entry_point}` does what is asked.\n"
        f"2. For example:\n\n{_fenced(f'print({s.entry_point}.__name__)')}\nI hope this helps!"
    )


def _two_blocks(s: Solution) -> str:
    return f"First a helper:\n\n{_fenced(s.renamed())}\nThen the function itself:\n\n" + _fenced(
        f"def {s.entry_point}(*arguments):\n    return inner_function(*arguments)"
    )


def _class(s: Solution) -> str:
    method = f"class Solution:\n    def {s.entry_point}(self, *arguments):\n"
    method += "        return inner_function(*arguments)\n"
    function = f"def {s.entry_point}(*arguments):\n"
    function += f"    return Solution().{s.entry_point}(*arguments)\n"
    return _DRAFT + _fenced(f"{s.renamed()}\n\n{method}\n{function}")


def _with_tests(s: Solution) -> str:
    main = f"if __name__ == '__main__':\n    n = int(input())\n    print({s.entry_point}(n))\n"
    driver = f"x = input('A number: ')\nprint({s.entry_point}(int(x)))\n"
    return _fenced(
        f"{s.program}\n\n# Tests\n{s.examples}\nprint('All tests passed!')\n{driver}{main}"
    )


def _body_alone(s: Solution) -> str | None:
    body = _body(s)
    return None if body is None else f"{_DRAFT}{body}"


def _body_fenced(s: Solution) -> str | None:
    body = _body(s)
    return None if body is None else f"{_DRAFT}The body is\n\n{_fenced(body)}"


def _body_cut(s: Solution) -> str | None:
    body = _body(s)
    return None if body is None else f"{_DRAFT}<answer>{body.strip()}</answer>"


def _indented(s: Solution) -> str:
    block = textwrap.indent(_fenced(s.program), "   ", bool)
    return f"{_DRAFT}<answer>\n{block}\n</answer>"


def _tildes(s: Solution) -> str:
    return f"{_DRAFT}Here:\n\n{_fenced(s.program, 'py', '~~~')}\nIt is O(n)."


def _no_fence(s: Solution) -> str:
    return f"Here is the function you asked for.\n\n{s.program}\n\nIt's linear in the input."


def _corrected(s: Solution) -> str:
    draft = f"# A draft that is longer than the solution.\n{s.mutant().program}"
    return (
        f"A first version:\n\n{_fenced(draft)}"
        f"\nWait, that's wrong. Corrected:\n\n{_fenced(s.program)}"
    )


def _session(s: Solution) -> str | None:
    if "'''" in s.program or '"""' in s.program or "\t" in s.program:
        return None
    out = []
    for node in ast.parse(s.program).body:
        first, *others = ast.unparse(node).split("\n")
        out += [f">>> {first}", *(f"... {line}" for line in others)]
        out += ["..."] if others else []
    return _fenced(
        "\n".join([*out, f">>> {s.entry_point}.__name__", f"'{s.entry_point}'"]), "pycon"
    )


def _docstring(s: Solution) -> str:
    text = f'"""Solves it.\n\nUsage:\n\n```python\n{s.entry_point}(x)\n```\n"""\n'
    return f"Here you are:\n\n{_fenced(text + s.program)}\nThat's it."


def _unclosed(s: Solution) -> str:
    return f"{_DRAFT}\n```python\n{s.program.rstrip()}\n"


def _same_line(s: Solution) -> str:
    return f"Here you are: ```python\n{s.program.rstrip()}```\nDone."


def _quoted(s: Solution) -> str:
    return "As they say:\n\n" + textwrap.indent(_fenced(s.program), "> ", bool)


def _windows(s: Solution) -> str:
    return _chat(s).replace("\n", "\r\n")


WRAPPINGS: dict[str, Callable[[Solution], str | None]] = {
    "chat": _chat,
    "two blocks": _two_blocks,
    "class": _class,
    "tests included": _with_tests,
    "body alone": _body_alone,
    "indented in answer": _indented,
    "~~~": _tildes,
    "no fence": _no_fence,
    "body in a block": _body_fenced,
    "body in answer, cut": _body_cut,
    "corrected draft": _corrected,
    "session": _session,
    "fence in docstring": _docstring,
    "unclosed": _unclosed,
    "fences in lines": _same_line,
    "quoted": _quoted,
    "Windows": _windows,
}
"""The ways; None of what cannot be written so. The first eight are the usual ones."""

UNFINISHED: dict[str, Callable[[Solution], str]] = {
    "thinking without an end": lambda s: f"<think>\nIt is\n\n{_fenced(s.program)}\nBut",
    "second thoughts": lambda s: f"<think>x</think>\n{_fenced(s.program)}\n<think>Is it?",
    "answer without an end": lambda s: (
        f"<think>\n{_fenced(s.program)}</think>\n<answer>\n{_fenced(s.mutant().program)}That"
    ),
    "a right answer without an end": lambda s: f"<think>x</think>\n<answer>\n{_fenced(s.program)}",
    "a second draft without an end": lambda s: (
        f"{_fenced(s.program)}\nBetter:\n\n```python\ndef {s.entry_point}(*other):\n    for x in ("
    ),
}
"""Right programs in answers that are not finished: none of them counts."""


def wrapped(
    some: Sequence[Solution], ways: dict[str, Callable[[Solution], str | None]]
) -> Iterator[tuple[tuple[str, str], str | None, CodeTests]]:
    """Yield what the evaluation finds in each wrapping of each solution, by (way, id)."""
    for solution in some:
        for way, wrap in ways.items():
            if (completion := wrap(solution)) is not None:
                yield (way, solution.id), solution.found_in(completion), solution.tests


def verdicts(
    items: Iterator[tuple[tuple[str, str], str | None, CodeTests]], workers: int = 2
) -> dict[tuple[str, str], Verdict]:
    """Run what was found; what is the same as before is not run again."""
    known: dict[tuple[str | None, str], Verdict] = {}
    wanted = [(key, program, tests) for key, program, tests in items]
    new = {(program, tests.code): (program, tests) for _, program, tests in wanted}
    trials = ((key, Trial(*run)) for key, run in new.items())
    for key, verdict in check_programs(trials, workers, limits_of(TIMEOUT_S), find_level()):
        assert verdict is not None
        known[key] = verdict
    return {key: known[program, tests.code] for key, program, tests in wanted}


def main() -> None:
    """Check all, or a sample, and print how many pass by way of wrapping."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of humaneval.jsonl, mbpp.jsonl, …")
    parser.add_argument("--sample", type=int, help="this many problems of each benchmark")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args()
    print("benchmark,form,wrapping,passed,of")
    for name in COUNTS:
        some = solutions(options.folder, name)
        if options.sample:
            some = random.Random(0).sample(some, options.sample)
        mutants = [s.mutant() for s in some]
        for form, them, ways in (
            ("right", some, WRAPPINGS),
            ("mutant", mutants, WRAPPINGS),
            ("right", some, UNFINISHED),
        ):
            found = verdicts(wrapped(them, ways), options.workers)
            for way in ways:
                mine = {key[1]: v.correct for key, v in found.items() if key[0] == way}
                if mine:
                    print(f"{name},{form},{way},{sum(mine.values())},{len(mine)}", flush=True)
                odd = [i for i, ok in mine.items() if ok != (form == "right" and ways is WRAPPINGS)]
                if odd:
                    print(f"# {', '.join(odd)}", flush=True)


if __name__ == "__main__":
    main()
