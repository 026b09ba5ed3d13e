"""The tables, and the identity of an example."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmss_cli.core.errors import IntegrityError
from wmss_cli.core.schema import ACTIVE, ENTROPY, example_id, read_parquet, write_parquet


def test_the_identity_is_of_the_content_and_stays() -> None:
    # Written down: another value would orphan every artifact that people have.
    assert example_id("2 + 2?", "4") == "a722a4492aa091b04a838380798a85dd"
    assert example_id("2 + 2?", "4") != example_id("2 + 2?", "5")


@given(st.text(), st.text(min_size=1), st.text())
def test_text_that_moves_from_prompt_to_completion_is_another_example(
    prompt: str, moved: str, rest: str
) -> None:
    assert example_id(prompt + moved, rest) != example_id(prompt, moved + rest)


def test_half_a_surrogate_pair_has_an_identity_too() -> None:
    assert len(example_id("\ud83d", "")) == 32


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [{"example_id": "a", "count": 2}, {"example_id": "b", "count": 1}]
    write_parquet(tmp_path / "active.parquet", iter(rows), ACTIVE)
    assert read_parquet(tmp_path / "active.parquet", ACTIVE).to_pylist() == rows


def test_a_table_with_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "active.parquet"
    write_parquet(path, [{"example_id": "a", "count": 2}], ACTIVE)
    with pytest.raises(IntegrityError, match=r"expected the columns example_id, entropy, .*redo"):
        read_parquet(path, ENTROPY)


def test_a_column_of_another_type_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "active.parquet"
    pq.write_table(pa.table({"example_id": ["a"], "count": [2.0]}), path)
    with pytest.raises(IntegrityError):
        read_parquet(path, ACTIVE)


@pytest.mark.parametrize("content", [b"", b"no parquet at all", b"PAR1 cut short"])
def test_a_file_that_is_no_parquet_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "active.parquet"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"active\.parquet: not a Parquet file") as caught:
        read_parquet(path, ACTIVE)
    assert "\n" not in str(caught.value)
