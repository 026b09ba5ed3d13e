"""Finding the program in what a model wrote."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmss_cli.verify.blocks import (
    choose_block,
    complete,
    defines,
    extract_code,
    extract_from_answer,
    fenced_blocks,
    keep_definitions,
    longest_parsable,
    parses,
)

SOLUTION = "def f(x):\n    return x\n"


def fenced(code: str, language: str = "python", fence: str = "```") -> str:
    return f"{fence}{language}\n{code}{fence}\n"


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("no block", []),
        (fenced(SOLUTION), [SOLUTION]),
        (fenced(SOLUTION, ""), [SOLUTION]),
        (fenced(SOLUTION, "Python3"), [SOLUTION]),
        (fenced(SOLUTION, "py", "~~~"), [SOLUTION]),
        (fenced("ls\n", "bash") + fenced(SOLUTION), [SOLUTION]),
        (f"a\n{fenced(SOLUTION)}b\n{fenced('f(1)' + chr(10))}c", [SOLUTION, "f(1)\n"]),
        (fenced('s = "```"\n'), ['s = "```"\n']),
        (fenced(fenced("x = 1\n"), "python", "````"), [fenced("x = 1\n")]),
        ("1. First:\n   ```python\n   def f():\n     pass\n   ```", ["def f():\n  pass\n"]),
        ("```python title='a.py'\nx = 1\n```", ["x = 1\n"]),
        ("```python\nx = 1\n", []),
        ("~~~~~\nx\n" + fenced(SOLUTION), [SOLUTION]),
        ("```python\nx = 1\n" + fenced(SOLUTION, "python", "~~~"), [SOLUTION]),
        (fenced(SOLUTION).replace("\n", "\r\n"), [SOLUTION.replace("\n", "\r\n")]),
    ],
)
def test_fenced_blocks(text: str, blocks: list[str]) -> None:
    assert fenced_blocks(text) == blocks


@pytest.mark.parametrize(
    ("blocks", "entry_point", "chosen"),
    [
        ([], None, None),
        (["a = 1", "a = 12"], None, "a = 12"),
        (["a = 1", "b = 2"], None, "a = 1"),
        (["def f(): 0", "print(f(), f(), f())"], "f", "def f(): 0"),
        (["def f(): 0", "print(f(), f(), f())"], "g", "print(f(), f(), f())"),
        (["def f(): 0", "def f() and much more text"], None, "def f(): 0"),
        (["class S:\n def f(self): 0", "x = 1"], "f", "class S:\n def f(self): 0"),
        (["f = len", "longer = 1"], "f", "f = len"),
        (["def f("], "f", "def f("),
    ],
)
def test_which_block_counts(blocks: list[str], entry_point: str | None, chosen: str | None) -> None:
    assert choose_block(blocks, entry_point) == chosen


DRAFT = fenced("def f(x):\n    return 'a draft, and longer'\n")
EXAMPLE = fenced("f(input())\n")


@pytest.mark.parametrize(
    ("completion", "program"),
    [
        (f"<think>{DRAFT}</think><answer>{fenced(SOLUTION)}</answer>", SOLUTION),
        (f"<think>hm</think>\n{fenced(SOLUTION)}", SOLUTION),
        (f"<think>hm\n{fenced(SOLUTION)}", None),
        (f"<answer>\n{fenced(SOLUTION)}Example:\n{EXAMPLE}</answer>", SOLUTION),
        (f"<answer>{SOLUTION}</answer>", SOLUTION.strip()),
        ("<answer>I cannot do that.</answer>", None),
        ("", None),
    ],
)
def test_only_the_answer_counts(completion: str, program: str | None) -> None:
    assert extract_from_answer(completion, "f") == program


@pytest.mark.parametrize(
    "completion",
    [
        SOLUTION,
        fenced(SOLUTION),
        f"Sure! Here it is:\n\n{fenced(SOLUTION)}\nIt returns x.",
        f"Sure! Here it is:\n{SOLUTION}\nIt returns x.",
        f"```python\n{SOLUTION}",
        fenced(f"{SOLUTION}\nprint(f(1))\n"),
        fenced(f"{SOLUTION}\nif __name__ == '__main__':\n    f(input())\n"),
        fenced(f"{SOLUTION}\ndef unused():\n    return input()\n\nvalue = unused()\n"),
        fenced(f"{SOLUTION}\nassert f(1) == 2\n"),
        f"<think>f</think>{fenced(SOLUTION)}",
    ],
)
def test_code_of_a_completion(completion: str) -> None:
    assert extract_code(completion, "f") == SOLUTION.strip()


def test_what_the_entry_point_needs_is_kept() -> None:
    code = (
        "import math\nfrom functools import cache\n\nLIMIT = 9\nOTHER = print()\n\n"
        "def helper(x):\n    return min(x, LIMIT)\n\n"
        "@cache\ndef f(x):\n    return helper(math.ceil(x))\n\nf(1)\n"
    )
    kept = keep_definitions(code, "f")
    assert "OTHER" not in kept
    assert not kept.endswith("f(1)")
    assert all(part in kept for part in ("import math", "LIMIT = 9", "def helper", "@cache"))
    assert "OTHER" in keep_definitions(code, "not there")


def test_nothing_that_can_be_parsed_is_no_code() -> None:
    assert extract_code("Sorry, I do not know.", "f") is None
    assert extract_code("", "f") is None


PROMPT = 'import math\n\ndef helper(x):\n    return x\n\n\ndef f(x):\n    """Return x."""\n'


@pytest.mark.parametrize(
    "completion",
    [
        "    return helper(x)\n",
        "    return helper(x)\n\nprint(f(3))\n",
        "    return helper(x)\n\ndef g():\n    return",
        "    return helper(x)\n\nif __name__ == '__main__':\n    f(input())",
        "    return helper(x)\n```\nThat is all.",
        f"{PROMPT}    return helper(x)\n",
        f"Here you are:\n{fenced(PROMPT + '    return helper(x)' + chr(10))}",
        fenced("def f(x):\n    return helper(x)\n"),
        fenced("    return helper(x)\n"),
    ],
)
def test_a_prompt_and_its_completion_make_a_program(completion: str) -> None:
    names: dict[str, object] = {}
    exec(complete(PROMPT, completion, "f"), names)
    function = names["f"]
    assert callable(function)
    assert function(7) == 7


@pytest.mark.timeout(60)
def test_an_answer_that_repeats_itself_takes_no_time() -> None:
    assert len(fenced_blocks("```python\nprint(1)\n" * 20_000)) == 0
    assert len(fenced_blocks("```python\nprint(1)\n```\n" * 20_000)) == 20_000
    longest_parsable("x = (\n" * 400)


def test_the_longest_run_of_lines() -> None:
    text = (
        "Here:\nimport numpy\nSorry, again:\nimport math\n\ndef f():\n    return 1\nAs you can see"
    )
    assert longest_parsable(text) == "import math\n\ndef f():\n    return 1"
    assert longest_parsable("not a program at all") is None


@given(st.text("ab(:=\n `~#", max_size=60))
def test_any_text_is_taken(text: str) -> None:
    code = extract_code(text, "a")
    assert code is None or parses(code)
    found = longest_parsable(text)
    assert found is None or (parses(found) and found in text)
    assert all(block in text for block in fenced_blocks(text))


def test_code_that_is_too_deep_does_not_parse() -> None:
    assert not parses("(" * 5000 + ")" * 5000)
    assert not parses("x = '\0'")
    assert not defines("-" * 20_000 + "1", "f")


def test_definitions_are_valid_python() -> None:
    assert ast.parse(keep_definitions("x = 1; y = 2\ndef f(): return x\n", "f"))
