"""tokenize: every curated example once, within the length limit, and all of it counted."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, Self

import pyarrow.parquet as pq
import pytest
from tiny import END

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.config import TokenizeConfig
from wmss_cli.core.errors import DataError
from wmss_cli.core.manifest import Manifest, verify
from wmss_cli.core.schema import EXAMPLE, example_id, write_parquet
from wmss_cli.data.card import LENGTHS_FILE
from wmss_cli.data.chat import Renderer
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models import template
from wmss_cli.models.template import PLAIN_TEMPLATE
from wmss_cli.models.tokenizer import load_tokenizer, tokenizer_fingerprint
from wmss_cli.stages import tokenize

SYSTEM_PROMPT = "Compute."
PAIRS = [
    ("How many are left?", "<think>6 - 2</think> <answer>4</answer>"),
    ("How many books?", "<think>" + "Ben finds one more. " * 30 + "</think> <answer>30</answer>"),
    ("What is asked? " * 40, "<think></think> <answer>1</answer>"),
]
"""Short; long by its completion; long by its prompt."""


def write_examples(folder: Path, pairs: Iterable[tuple[str, str]]) -> Path:
    rows = [
        {
            "example_id": example_id(prompt, completion),
            "source": "",
            "prompt": prompt,
            "completion": completion,
            "reference_answer": None,
        }
        for prompt, completion in pairs
    ]
    with open_draft(Job("curate", {}, {"pairs": len(rows)}, {}, str(folder))) as draft:
        write_parquet(draft.folder / "examples.parquet", rows, EXAMPLE)
        draft.commit({"kept": len(rows)})
    return folder


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_examples(tmp_path_factory.mktemp("tokenize") / "curated", PAIRS)


@pytest.fixture(scope="module")
def lengths(tiny_model: Path) -> list[tuple[int, int]]:
    """(prompt, whole sample) of each pair, in tokens."""
    renderer = Renderer(load_tokenizer(tiny_model), SYSTEM_PROMPT)
    rendered = renderer.render(*zip(*PAIRS, strict=True))
    return [(sample.prompt_length, len(sample.input_ids)) for sample in rendered]


def run(out: Path, examples: Path, model: Path, **options: Any) -> Manifest:
    config = TokenizeConfig(**({"system_prompt": SYSTEM_PROMPT} | options))
    inputs = {"examples": str(examples), "model": str(model)}
    dumped = config.model_dump(mode="json")
    return tokenize.run(Job("tokenize", dumped, config.identity(), inputs, str(out)))


def left_out(out: Path) -> list[tuple[str, str]]:
    rows = pq.read_table(out / "left_out.parquet").to_pylist()
    return [(row["example_id"], row["reason"]) for row in rows]


def test_writes_each_example_as_the_renderer_does(
    tmp_path: Path, examples: Path, tiny_model: Path, lengths: list[tuple[int, int]]
) -> None:
    manifest = run(tmp_path / "tokens", examples, tiny_model)
    table = TokenTable(tmp_path / "tokens")
    tokenizer = load_tokenizer(tiny_model)
    assert (tmp_path / "tokens" / LENGTHS_FILE).stat().st_size > 1000
    assert table.example_ids == [example_id(*pair) for pair in PAIRS]
    assert list(zip(table.prompt_lengths, table.lengths, strict=True)) == lengths
    for row, (prompt, completion) in enumerate(PAIRS):
        ids = table.input_ids(row)
        split = lengths[row][0]
        assert tokenizer.decode(ids[split:-1]) == completion
        assert ids[-1] == tokenizer.eos_token_id
        assert prompt.strip() in tokenizer.decode(ids[:split])
        assert SYSTEM_PROMPT in tokenizer.decode(ids[:split])
    metrics = manifest.metrics
    assert metrics["examples"] == 3
    assert (metrics["left_out"], metrics["truncated"]) == ({}, 0)
    assert metrics["tokens"] == sum(whole for _, whole in lengths)
    assert metrics["completion_tokens"] == sum(whole - prompt for prompt, whole in lengths)
    assert metrics["longest_tokens"] == max(whole for _, whole in lengths)
    assert metrics["tokenizer"] == tokenizer_fingerprint(tokenizer) == table.tokenizer
    assert metrics["stop_token_ids"] == [tokenizer.eos_token_id]
    assert verify(tmp_path / "tokens") == manifest


def test_what_is_too_long_is_left_out_and_counted(
    tmp_path: Path, examples: Path, tiny_model: Path, lengths: list[tuple[int, int]]
) -> None:
    limit = lengths[0][1]
    manifest = run(tmp_path / "tokens", examples, tiny_model, max_seq_len=limit)
    assert manifest.metrics["examples"] == 1
    assert manifest.metrics["left_out"] == {"too_long": 2}
    assert left_out(tmp_path / "tokens") == [(example_id(*pair), "too_long") for pair in PAIRS[1:]]


def test_what_is_too_long_is_cut_where_that_is_asked_for(
    tmp_path: Path, examples: Path, tiny_model: Path, lengths: list[tuple[int, int]]
) -> None:
    limit = lengths[0][1]
    assert lengths[1][0] < limit < lengths[2][0], "one keeps some completion, one does not"
    options = {"max_seq_len": limit, "too_long": "truncate"}
    manifest = run(tmp_path / "tokens", examples, tiny_model, **options)
    table = TokenTable(tmp_path / "tokens")
    assert table.lengths.tolist() == [limit, limit]
    assert (manifest.metrics["examples"], manifest.metrics["truncated"]) == (2, 1)
    assert manifest.metrics["left_out"] == {"no_completion_tokens": 1}
    assert left_out(tmp_path / "tokens") == [(example_id(*PAIRS[2]), "no_completion_tokens")]


@pytest.mark.parametrize(
    ("too_long", "reason"), [("drop", "3 too_long"), ("truncate", "3 no_completion_tokens")]
)
def test_nothing_left_is_an_error_that_counts_the_reasons(
    tmp_path: Path, examples: Path, tiny_model: Path, too_long: str, reason: str
) -> None:
    with pytest.raises(DataError, match=rf"no example fits max_seq_len 2 \({reason}\); raise it"):
        run(tmp_path / "tokens", examples, tiny_model, max_seq_len=2, too_long=too_long)
    assert not (tmp_path / "tokens").exists()


def test_the_same_examples_give_the_same_bytes(
    tmp_path: Path, examples: Path, tiny_model: Path
) -> None:
    first = run(tmp_path / "a", examples, tiny_model)
    assert run(tmp_path / "b", examples, tiny_model).digest == first.digest


def test_the_name_of_a_special_token_stays_text_and_is_counted(
    tmp_path: Path, tiny_model: Path
) -> None:
    pairs = [(f"What is {END}?", "4"), ("How many?", f"4{END}5"), ("How many?", "4")]
    curated = write_examples(tmp_path / "curated", pairs)
    manifest = run(tmp_path / "tokens", curated, tiny_model)
    table, eos = TokenTable(tmp_path / "tokens"), load_tokenizer(tiny_model).eos_token_id
    assert [table.input_ids(row).tolist().count(eos) for row in range(3)] == [1, 1, 1]
    assert manifest.metrics["special_tokens_as_text"] == 2
    assert manifest.metrics["left_out"] == {}


def test_a_template_that_writes_today_gives_the_same_table_every_day(
    tmp_path: Path, examples: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    dated = "{{ strftime_now('%d %B %Y') + '\\n' }}" + PLAIN_TEMPLATE
    (model / "chat_template.jinja").write_text(dated)
    first = run(tmp_path / "first", examples, model)
    monkeypatch.setattr(template, "datetime", Tomorrow)
    assert run(tmp_path / "second", examples, model).digest == first.digest
    other = run(tmp_path / "other", examples, model, template_date="2026-11-29")
    assert other.digest != first.digest
    assert other.fingerprint != first.fingerprint


class Tomorrow(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls(2099, 1, 1, tzinfo=tz)
