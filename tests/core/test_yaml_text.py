"""What a text of YAML stands for: as version 1.2 has it, and nothing by surprise."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from wmss_cli.core.errors import ConfigError
from wmss_cli.core.yaml_text import compose, construct, parse


def read(folder: Path, text: str) -> Any:
    file = folder / "a.yaml"
    file.write_bytes(text.encode())
    node = compose(file)
    return None if node is None else construct(node)


@pytest.mark.parametrize("text", ["true", "True", "TRUE", "false", "False", "FALSE"])
def test_true_and_false_are_booleans(text: str) -> None:
    assert parse(text) is (text.lower() == "true")


@pytest.mark.parametrize(
    "text",
    [
        *("yes", "no", "on", "off", "y", "n", "Yes", "NO", "tRue"),
        *("1_000", "1:30", "1:30:00", "190:20:30.15", "0b101", "1e", "e5", "0x", "1.2.3", "+-1"),
        *("2024-01-01", "2024-13-45", "2001-12-14t21:59:43.10-05:00", "=", "١٢", "infinity", "nan"),
    ],
)
def test_what_only_older_versions_take_for_something_else_is_a_text(text: str) -> None:
    assert parse(text) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("0", 0), ("-0", 0), ("+7", 7), ("42", 42), ("0o10", 8), ("0x1F", 31)),
        *(
            ("1e-5", 1e-5),
            ("3E-4", 3e-4),
            ("1e3", 1e3),
            (".5", 0.5),
            ("5.", 5.0),
            ("-1.5e+2", -150),
        ),
        *((".inf", math.inf), ("-.INF", -math.inf)),
        *(("null", None), ("~", None), ("NULL", None)),
    ],
)
def test_numbers_and_null(text: str, value: Any) -> None:
    assert parse(text) == value
    assert type(parse(text)) is type(value) or value == -150


@pytest.mark.parametrize("text", ["010", "00", "-01", "+007", "08", "0123456"])
def test_a_leading_zero_is_an_error_that_says_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=rf"{text.replace('+', '.')} begins with 0.*; write "):
        parse(text)
    assert parse(f"'{text}'") == text


@given(st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none() | st.text())
def test_what_a_library_writes_is_read_as_it_was(value: Any) -> None:
    # PyYAML writes version 1.1, where 0E0, 0o7 and 08 are texts and need no quotes.
    assume(not (isinstance(value, str) and re.fullmatch(r"[-+]?[\d.][\w.+-]*", value)))
    # It folds these line ends of other alphabets.
    assume(not (isinstance(value, str) and set("\x85\u2028\u2029") & set(value)))
    text = yaml.safe_dump(value, allow_unicode=True).removesuffix("...\n")
    # PyYAML breaks long lines; an option is one line.
    if text.strip():
        assert parse(text.strip(" \n")) == value


def test_merge_keys(tmp_path: Path) -> None:
    text = (
        "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\n"
        "c: {<<: *a, y: 3}\nd: {y: 3, <<: [*a, *b]}\ne: &e {<<: *b, w: 0}\nf: {<<: *e}\n"
    )
    found = read(tmp_path, text)
    assert found["c"] == {"x": 1, "y": 3}
    assert found["d"] == {"x": 1, "y": 3, "z": 2}
    assert found["f"] == {"y": 2, "z": 2, "w": 0}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: {b: 1, b: 2}", "b is given twice; remove one"),
        ("a: {1: 1, '1': 2}", "1 is given twice"),
        ("a: {<<: {x: 1}, <<: {y: 1}}", "<< is given twice"),
        ("a: {<<: 3}", "<< takes over a mapping"),
        ("a: {<<: [{x: 1}, 3]}", "<< takes over a mapping"),
        ("a: &a {<<: *a}", "<< takes over the mapping that it is in"),
        ("a: &a {<<: {<<: *a}}", "<< takes over the mapping that it is in"),
        ("a: {[1, 2]: 3}", "a key has to be a single word"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
    ],
)
def test_what_has_no_value(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a:\n\tb: 1\n", r"a.yaml:2: bad YAML: .*; use spaces, not tabs"),
        ("a: b: c\n", r"a.yaml:1: .* quote a text that has ': ' in it"),
        ("a: 'b\n", r"a.yaml:2: .*a quote or a bracket is not closed"),
        ("a: *b\n", r"a.yaml:1: .*undefined alias 'b'; write &NAME"),
        ("a: 1\n---\nb: 2\n", r"a.yaml:2: .*; keep one document"),
        ("a: 1\nb: \x00\n", r"a.yaml:2: bad YAML: the character U\+0000 is not allowed"),
        ("[" * 2_000, r"a.yaml: bad YAML: nested too deeply"),
    ],
)
def test_what_is_no_yaml(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(ConfigError, match=line) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_how_an_editor_saves_does_not_matter(tmp_path: Path, start: str, end: str) -> None:
    lines = ["sft:", "  epochs: 2", "data: # mine", "  - a.jsonl", ""]
    found = read(tmp_path, start + end.join(lines))
    assert found == {"sft": {"epochs": 2}, "data": ["a.jsonl"]}


def test_nothing_is_the_empty_text_and_a_comment_is_not_lost() -> None:
    assert parse("") == parse(" ") == parse("''") == ""
    for text in ("# Rules", "a # b", "[a] # b"):
        with pytest.raises(ValueError, match="takes what follows # for a comment"):
            parse(text)
    assert parse("'a # b'") == "a # b"
    assert parse("a#b") == "a#b"
