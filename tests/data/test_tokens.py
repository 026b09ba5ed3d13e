"""The token table: the length limit, and samples as they were written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.errors import ConfigError, DataError, IntegrityError
from wmss_cli.data.chat import Rendered
from wmss_cli.data.tokens import TOKENS_FILE, Cut, TokenTable, cut, write_tokens

SAMPLE = Rendered([1, 2, 3, 4, 5], prompt_length=3)


def write_table(
    folder: Path, rows: list[tuple[str, list[int], int]], stage: str = "tokenize"
) -> Path:
    with open_draft(Job(stage, {}, {}, {}, str(folder))) as draft:
        write_tokens(
            draft.folder / TOKENS_FILE,
            (
                {"example_id": i, "input_ids": ids, "prompt_length": n, "truncated": False}
                for i, ids, n in rows
            ),
        )
        draft.commit({"tokenizer": "abc", "stop_token_ids": [0]})
    return folder


@pytest.mark.parametrize("too_long", ["drop", "truncate"])
def test_what_fits_is_left_alone(too_long: str) -> None:
    assert cut(SAMPLE, 5, too_long) == Cut(SAMPLE, False, None)


def test_what_is_too_long_is_left_out_or_cut_at_the_end() -> None:
    assert cut(SAMPLE, 4, "drop") == Cut(None, False, "too_long")
    assert cut(SAMPLE, 4, "truncate") == Cut(Rendered([1, 2, 3, 4], 3), True, None)


@pytest.mark.parametrize("limit", [2, 3])
def test_a_sample_whose_completion_is_cut_off_teaches_nothing(limit: int) -> None:
    assert cut(SAMPLE, limit, "truncate") == Cut(None, True, "no_completion_tokens")


def test_a_sample_without_completion_is_left_out() -> None:
    assert cut(Rendered([1, 2], 2), 8, "drop").reason == "no_completion_tokens"
    # Nothing stands before the only token, so nothing predicts it.
    assert cut(Rendered([1], 0), 8, "drop").reason == "no_completion_tokens"


@given(
    length=st.integers(1, 40),
    prompt_length=st.integers(0, 40),
    limit=st.integers(2, 40),
    too_long=st.sampled_from(["drop", "truncate"]),
)
def test_what_is_kept_fits_and_has_a_completion(
    length: int, prompt_length: int, limit: int, too_long: str
) -> None:
    sample = Rendered(list(range(length)), min(prompt_length, length))
    result = cut(sample, limit, too_long)
    if result.rendered is None:
        assert result.reason in ("too_long", "no_completion_tokens")
        return
    kept = result.rendered
    assert kept.input_ids == sample.input_ids[: len(kept.input_ids)]
    assert len(kept.input_ids) == min(length, limit)
    assert len(kept.input_ids) > kept.prompt_length
    assert kept.prompt_length == sample.prompt_length
    assert result.truncated == (length > limit)


def test_samples_come_back_as_they_were_written(tmp_path: Path) -> None:
    # More than one batch of the file, so that rows lie in several chunks.
    rows = [(f"id-{i}", list(range(i, i + 2 + i % 7)), 1 + i % 2) for i in range(2500)]
    table = TokenTable(write_table(tmp_path / "tokens", rows))
    assert len(table) == 2500
    assert (table.tokenizer, table.stop_token_ids) == ("abc", [0])
    assert table.example_ids == [example_id for example_id, _, _ in rows]
    for row in (0, 999, 1000, 1001, 2499):
        assert table.input_ids(row).tolist() == rows[row][1]
    assert table.lengths.tolist() == [len(ids) for _, ids, _ in rows]
    assert table.prompt_lengths.tolist() == [n for _, _, n in rows]
    np.testing.assert_array_equal(table.completion_lengths, table.lengths - table.prompt_lengths)
    assert list(table.rows_of(["id-1500", "id-3", "id-1500"])) == [1500, 3, 1500]


def test_an_id_of_other_data_is_an_integrity_error(tmp_path: Path) -> None:
    table = TokenTable(write_table(tmp_path / "tokens", [("a", [1, 2], 1)]))
    with pytest.raises(IntegrityError, match=r"example b is not in the token table; .*redo"):
        list(table.rows_of(["a", "b"]))


def test_an_artifact_of_another_stage_is_refused(tmp_path: Path) -> None:
    folder = write_table(tmp_path / "curated", [("a", [1, 2], 1)], stage="curate")
    with pytest.raises(ConfigError, match="made by curate, expected a token table"):
        TokenTable(folder)


def test_an_empty_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the token table is empty"):
        TokenTable(write_table(tmp_path / "tokens", []))


@pytest.mark.parametrize("keep", [0, 100, -10])
def test_a_damaged_file_is_one_line(tmp_path: Path, keep: int) -> None:
    folder = write_table(tmp_path / "tokens", [("a", [1, 2], 1)])
    path = folder / TOKENS_FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(IntegrityError, match=r"tokens\.arrow: not an Arrow file") as caught:
        TokenTable(folder)
    assert "\n" not in str(caught.value)
