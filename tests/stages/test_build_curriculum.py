"""build-curriculum: two entropy tables joined by id, weighed, and drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.config import CurriculumConfig
from wmss_cli.core.errors import ConfigError, DataError, IntegrityError
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.schema import ACTIVE, CURRICULUM, ENTROPY, read_parquet, write_parquet
from wmss_cli.score.curriculum import weigh
from wmss_cli.stages import build_curriculum, table

WEAK = {"a": 1.0, "b": 2.0, "c": 1.0, "d": 0.0}
STRONG = {"c": 1.5, "a": 0.5, "d": 0.0, "b": 2.0}
"""The same samples in another order: rows are joined by id, never by number."""


def write_entropies(folder: Path, values: Mapping[str, float]) -> Path:
    rows = [
        {"example_id": i, "entropy": value, "completion_tokens": 1} for i, value in values.items()
    ]
    job = Job("score_entropy", {}, {"rows": rows}, {}, str(folder))
    with open_draft(job) as draft:
        write_parquet(draft.folder / "entropy.parquet", rows, ENTROPY)
        draft.commit({"dtype": "torch.float32"})
    return folder


def run(
    folder: Path,
    weak: Mapping[str, float] = WEAK,
    strong: Mapping[str, float] = STRONG,
    out: str = "curriculum",
    **options: Any,
) -> Manifest:
    config = CurriculumConfig(**options)
    inputs = {
        role: str(write_entropies(folder / f"{out}-{role}", values))
        for role, values in (("weak", weak), ("strong", strong))
    }
    dumped = config.model_dump(mode="json")
    job = Job("build_curriculum", dumped, config.identity(), inputs, str(folder / out))
    return build_curriculum.run(job)


def test_weighs_and_draws(tmp_path: Path) -> None:
    manifest = run(tmp_path, multiplier=25.0)
    table = read_parquet(tmp_path / "curriculum" / "curriculum.parquet", CURRICULUM).to_pylist()
    assert [row["example_id"] for row in table] == ["a", "b", "c", "d"]
    assert [row["entropy_weak"] for row in table] == [1.0, 2.0, 1.0, 0.0]
    assert [row["entropy_strong"] for row in table] == [0.5, 2.0, 1.5, 0.0]
    assert [row["probability"] for row in table] == pytest.approx(
        [0.50 / 0.85, 0.20 / 0.85, 0.15 / 0.85, 0.0]
    )
    active = read_parquet(tmp_path / "curriculum" / "active.parquet", ACTIVE).to_pylist()
    counts = {row["example_id"]: row["count"] for row in active}
    assert counts.keys() == {"a", "b", "c"}, "what was never drawn has no row"
    assert sum(counts.values()) == 100
    assert counts["a"] > counts["b"] > 0

    metrics = manifest.metrics
    assert (metrics["samples"], metrics["active_samples"], metrics["unique_samples"]) == (4, 100, 3)
    weights = weigh(
        np.array(list(WEAK.values())), np.array([0.5, 2.0, 1.5, 0.0]), CurriculumConfig()
    )
    assert metrics["effective_sample_size"] == round(weights.effective_sample_size, 2)
    shares = [metrics[f"share_{name}"] for name in ("alpha", "beta", "gamma")]
    assert shares == pytest.approx([0.4 / 0.85, 0.4 / 0.85, 0.05 / 0.85])
    assert metrics["mean_entropy_weak_nats"] == metrics["mean_entropy_strong_nats"] == 1.0


def test_the_seed_makes_the_draw(tmp_path: Path) -> None:
    weak = {str(i): 1.0 + i for i in range(50)}
    first, second, other = (
        run(tmp_path, weak, weak, f"out{i}", seed=seed).digest for i, seed in enumerate((0, 0, 1))
    )
    assert first == second != other


@pytest.mark.parametrize(
    "strong",
    [{"a": 1.0, "b": 1.0, "c": 1.0}, {**STRONG, "e": 1.0}, {"a": 1, "b": 1, "c": 1, "e": 1}],
)
def test_tables_of_different_samples_are_an_integrity_error(
    tmp_path: Path, strong: dict[str, float]
) -> None:
    with pytest.raises(IntegrityError, match="contain different samples; score both models on the"):
        run(tmp_path, WEAK, strong)
    assert not (tmp_path / "curriculum").exists()


def test_entropies_that_did_not_move_from_zero_are_an_error(tmp_path: Path) -> None:
    zero = dict.fromkeys("abc", 0.0)
    with pytest.raises(DataError, match="all curriculum weights are zero"):
        run(tmp_path, zero, zero)


def test_an_input_without_entropies_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    inputs = {"weak": str(tmp_path / "empty"), "strong": str(tmp_path / "empty")}
    dumped = CurriculumConfig().model_dump(mode="json")
    job = Job("build_curriculum", dumped, dumped, inputs, str(tmp_path / "out"))
    with pytest.raises((ConfigError, FileNotFoundError)):
        build_curriculum.run(job)


def test_a_flipped_bit_in_an_input_is_found_before_it_is_read(tmp_path: Path) -> None:
    value = 1.2345678901234567
    inputs = {
        role: str(write_entropies(tmp_path / role, WEAK | {"b": value}))
        for role in ("weak", "strong")
    }
    config = CurriculumConfig()
    job = Job(
        "build_curriculum", config.model_dump(), config.identity(), inputs, str(tmp_path / "c")
    )
    path = tmp_path / "strong" / "entropy.parquet"
    content = path.read_bytes()
    # Another number, which the format itself would not notice.
    place = content.index(np.float64(value).tobytes()) + 5
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(IntegrityError, match=r"strong/entropy.parquet: changed since it was"):
        table.run(job)
    assert not (tmp_path / "c.partial").exists()
    changed = table.run(replace(job, verify_inputs=False))
    path.write_bytes(content)
    sound = table.run(replace(job, out=str(tmp_path / "sound")))
    assert changed is not None
    assert sound is not None
    assert changed.digest != sound.digest, "without the check it is believed"
    assert changed.fingerprint == sound.fingerprint, "which does not change the result"
