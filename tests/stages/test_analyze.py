"""analyze: statistics and losses of a model as a plain loop in double precision finds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from table import make_token_table
from tiny import make_tiny_model

from wmss_cli.core.artifact import Job
from wmss_cli.core.config import AnalyzeConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.schema import LOSSES, read_parquet
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.causal import load_for_inference
from wmss_cli.score.logits import STATISTICS, logit_statistics
from wmss_cli.stages import analyze

# The second has no prompt, so nothing predicts its first token; the last spans two chunks.
SHAPES = [(5, 9), (0, 4), (12, 3), (2, 20), (7, 1), (3, 300)]


@pytest.fixture(scope="module")
def tokens(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_token_table(tmp_path_factory.mktemp("analyze") / "tokens", tiny_model, SHAPES)


def analyzed(out: Path, model: Path, tokens: Path, **options: Any) -> dict[str, Any]:
    """Analyze a model and return the metrics."""
    config = AnalyzeConfig(**options)
    inputs = {"model": str(model), "tokens": str(tokens)}
    dumped = config.model_dump(mode="json")
    return analyze.run(Job("analyze", dumped, config.identity(), inputs, str(out))).metrics


def losses(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_parquet(out / "losses.parquet", LOSSES).to_pylist()
    return found


def test_equals_a_plain_loop_in_double_precision(
    tmp_path: Path, tiny_model: Path, tokens: Path
) -> None:
    metrics = analyzed(tmp_path / "out", tiny_model, tokens)
    model, table = load_for_inference(tiny_model, "fp32").double(), TokenTable(tokens)
    expected: dict[str, tuple[float, int]] = {}
    statistics: dict[str, list[float]] = {name: [] for name in STATISTICS}
    for row, example_id in enumerate(table.example_ids):
        ids = torch.from_numpy(table.input_ids(row).astype("int64"))
        with torch.no_grad():
            logits = model(input_ids=ids[None]).logits[0]
        first = max(1, int(table.prompt_lengths[row]))
        predicting, targets = logits[first - 1 : -1], ids[first:]
        nll = -predicting.log_softmax(-1).gather(1, targets[:, None])
        expected[example_id] = (nll.mean().item(), len(targets))
        for name, values in logit_statistics(predicting, targets).items():
            statistics[name] += values.tolist()
    found = losses(tmp_path / "out")
    assert len(found) == metrics["samples"] == len(SHAPES)
    for row in found:
        loss, count = expected.pop(row["example_id"])
        assert row["loss"] == pytest.approx(loss, rel=1e-5)
        assert row["completion_tokens"] == count
    assert metrics["statistics"] == pytest.approx(
        {name: sum(values) / len(values) for name, values in statistics.items()}, rel=1e-4
    )


def test_all_models_are_seen_on_the_same_examples(
    tmp_path: Path, tiny_model: Path, tokens: Path
) -> None:
    other = make_tiny_model(tmp_path / "other", seed=1)
    one = analyzed(tmp_path / "one", tiny_model, tokens, samples=3)
    two = analyzed(tmp_path / "two", other, tokens, samples=3)
    ids = [[row["example_id"] for row in losses(tmp_path / name)] for name in ("one", "two")]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 3
    assert one["statistics"] != two["statistics"]


def test_another_seed_draws_other_examples(tmp_path: Path, tiny_model: Path, tokens: Path) -> None:
    drawn = set()
    for seed in range(5):
        analyzed(tmp_path / str(seed), tiny_model, tokens, samples=3, seed=seed)
        drawn.add(frozenset(row["example_id"] for row in losses(tmp_path / str(seed))))
    assert len(drawn) > 1


def test_how_it_is_batched_changes_nothing(tmp_path: Path, tiny_model: Path, tokens: Path) -> None:
    whole = analyzed(tmp_path / "whole", tiny_model, tokens)
    cut = analyzed(tmp_path / "cut", tiny_model, tokens, max_batch_tokens=1)
    assert cut["statistics"] == pytest.approx(whole["statistics"], rel=1e-4)
    one, many = losses(tmp_path / "whole"), losses(tmp_path / "cut")
    assert [row["example_id"] for row in one] == [row["example_id"] for row in many]
    assert [row["loss"] for row in one] == pytest.approx([row["loss"] for row in many], rel=1e-5)


def test_a_model_with_another_tokenizer_is_refused(tmp_path: Path, tokens: Path) -> None:
    other = make_tiny_model(tmp_path / "other", vocab_size=300)
    with pytest.raises(ConfigError, match=r"its tokenizer is not the one that made"):
        analyzed(tmp_path / "out", other, tokens)


def test_the_file_says_what_its_columns_are(tmp_path: Path, tiny_model: Path, tokens: Path) -> None:
    analyzed(tmp_path / "out", tiny_model, tokens)
    assert pq.read_schema(tmp_path / "out" / "losses.parquet").names == LOSSES.names
