"""Many JSON values in one text, read piece by piece."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmss_cli.core import json_values
from wmss_cli.core.json_values import Parser

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
) | st.text(max_size=8)


@given(st.lists(VALUES, max_size=6), st.sampled_from([None, 1]), st.sampled_from([1, 2, 7, 100]))
def test_wherever_a_piece_ends(values: list[Any], indent: int | None, chunk_chars: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_values, "_CHUNK_CHARS", chunk_chars)
        text = json.dumps(values, indent=indent, ensure_ascii=False)
        assert list(Parser().values(io.StringIO(f" {text}\n "))) == values
        # The same one after the other, without a list around them.
        text = "\n".join(json.dumps(value, indent=indent) for value in ({"a": v} for v in values))
        assert list(Parser().values(io.StringIO(text))) == [{"a": value} for value in values]


@given(st.lists(VALUES, min_size=1, max_size=4), st.data())
def test_wherever_a_list_is_cut_off(values: list[Any], data: st.DataObject) -> None:
    text = json.dumps(values)
    cut = data.draw(st.integers(1, len(text) - 1))
    with pytest.raises(ValueError, match=r"."):
        list(Parser().values(io.StringIO(text[:cut])))
