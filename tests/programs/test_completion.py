"""The program in a completion."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmss_cli.programs.completion import complete, extract_code, extract_from_answer
from wmss_cli.programs.syntax import parses

SOLUTION = "def f(x):\n    return x\n"


def fenced(code: str, language: str = "python", fence: str = "```") -> str:
    return f"{fence}{language}\n{code}{fence}\n"


DRAFT = fenced("def f(x):\n    return 'a draft, and longer'\n")
EXAMPLE = fenced("f(input())\n")


@pytest.mark.parametrize(
    ("completion", "program"),
    [
        (f"<think>{DRAFT}</think><answer>{fenced(SOLUTION)}</answer>", SOLUTION),
        (f"<think>hm</think>\n{fenced(SOLUTION)}", SOLUTION),
        (f"<think>hm\n{fenced(SOLUTION)}", None),
        (f"<think>hm</think>\n<answer>{fenced(SOLUTION)}", None),
        (f"<answer>\n{fenced(SOLUTION)}Example:\n{EXAMPLE}</answer>", SOLUTION),
        (f"<answer>{DRAFT}That is wrong.\n{fenced(SOLUTION)}</answer>", SOLUTION),
        (
            f"<answer>   ```python\n   {SOLUTION.replace('    ', '       ')}   ```</answer>",
            SOLUTION,
        ),
        (f"<answer>{SOLUTION}</answer>", SOLUTION.strip()),
        ("<answer>I cannot do that.</answer>", None),
        ("", None),
    ],
)
def test_only_the_answer_of_a_record_counts(completion: str, program: str | None) -> None:
    found = extract_from_answer(completion, "f")
    assert (found and found.strip()) == (program and program.strip())


def test_a_block_of_a_record_that_is_no_program_is_refused_as_it_is() -> None:
    wrong = "def f(x):\n    if x:\n        return x\n    retrun 0 0\n"
    assert extract_from_answer(fenced(wrong), "f") == wrong
    assert extract_from_answer(f"{fenced(SOLUTION)}Better:\n{fenced(wrong)}", "f") == wrong
    assert extract_from_answer(f"{fenced(wrong)}Corrected:\n{fenced(SOLUTION)}", "f") == SOLUTION


def test_a_script_is_taken_as_it_stands() -> None:
    script = "n = int(input())\nprint(n)\n"
    assert extract_from_answer(f"{fenced(script)}\nFor 5:\n{fenced('5' + chr(10), '')}") == script


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
        fenced(f"x = int(input())\n{SOLUTION}"),
        f"<think>f</think>{fenced(SOLUTION)}",
        f"<answer>\n    {SOLUTION.replace('    ', '        ')}</answer>",
        f"{DRAFT}Wait, no:\n{fenced(SOLUTION)}",
        f"{fenced(SOLUTION)}Its head is\n{fenced('def f(x): ...' + chr(10))}",
        f"{SOLUTION}<|im_end|>",
        f"\x1b[32m{SOLUTION}\x1b[0m",
    ],
)
def test_code_of_a_completion(completion: str) -> None:
    assert extract_code(completion, "f") == SOLUTION.strip()


@pytest.mark.parametrize(
    "completion",
    [
        "Sorry, I do not know.",
        "",
        f"<think>It is\n{fenced(SOLUTION)}",
        f"<think>x</think>\n<answer>\n{fenced(SOLUTION)}",
        f"<think>{fenced(SOLUTION)}</think>\n<answer>\n{DRAFT}",
        f"{fenced(SOLUTION)}Better:\n```python\ndef f(x):\n    for y in (",
    ],
)
def test_what_is_unfinished_or_no_code_does_not_count(completion: str) -> None:
    assert extract_code(completion, "f") is None
    assert complete(PROMPT, completion, "f") is None


def test_tags_inside_a_program_are_none() -> None:
    code = "def f(x):\n    return x.split('</think>')[-1].strip('<answer>')"
    assert extract_code(f"<think>Yes.</think>\n{fenced(code + chr(10))}", "f") == code


def test_what_the_tests_use_besides_stays() -> None:
    code = f"class Pair: pass\n{SOLUTION}"
    assert extract_code(fenced(code), "f", ["Pair"]) == code.strip()


PROMPT = 'import math\n\ndef helper(x):\n    return x\n\n\ndef f(x):\n    """Return x."""\n'
BODY = "    for _ in ():\n        return 0\n    return helper(x)\n"


@pytest.mark.parametrize(
    "completion",
    [
        BODY,
        f"{BODY}\nprint(f(3))\n",
        f"{BODY}\ndef g():\n    return",
        f"{BODY}\nif __name__ == '__main__':\n    f(input())",
        f"{BODY}```\nThat is all.",
        f"{BODY}\nThat's all.",
        f"{BODY}\n\ndef f(x):\n    return 0\n",
        "    return below(x)\n\n\ndef below(x):\n    return helper(x)\n",
        f"{PROMPT}{BODY}",
        f"Here you are:\n{fenced(PROMPT + BODY)}",
        fenced("def f(x):\n    return helper(x)\n"),
        fenced("from __future__ import annotations\ndef f(x: X):\n    return helper(x)\n"),
        fenced(BODY),
        f"<think>\n{DRAFT}</think>\n\n{BODY}",
        f"<think>\n{DRAFT}</think>\n\n{fenced(BODY)}\nFor example:\n{fenced('f(3)' + chr(10))}",
        f"<think>x</think>\n<answer>\n{BODY}</answer>",
        BODY.strip(),
        BODY.replace("\n    ", "\n").strip(),
        "# It is easy.\n    return helper(x)",
        "    def f(x):\n        return x\n    return helper(f(x))\n",
        "<answer>\n    def f(x):\n        return helper(x)\n</answer>",
    ],
)
def test_a_prompt_and_its_completion_make_a_program(completion: str) -> None:
    program = complete(PROMPT, completion, "f")
    assert program is not None
    names: dict[str, object] = {}
    exec(program, names)
    function = names["f"]
    assert callable(function)
    assert function(7) == 7


def test_what_neither_defines_nor_goes_on_is_no_program() -> None:
    assert complete(PROMPT, "", "f") is None
    assert complete(PROMPT, "I do not know.", "f") is None


@given(st.text("ab(:=\n `~#>", max_size=60))
def test_any_text_is_taken(text: str) -> None:
    code = extract_code(text, "a")
    assert code is None or parses(code)
    complete("def a(b):\n    'b'\n", text, "a")
    extract_from_answer(text, "a")


def test_code_that_is_too_deep_is_none() -> None:
    assert extract_code("(" * 5000 + ")" * 5000, "f") is None
    assert extract_code("x = '\0'", "f") is None
