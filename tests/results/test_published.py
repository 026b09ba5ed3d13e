"""The paper's numbers, and a study's own beside them where the base model is the paper's."""

from __future__ import annotations

import numpy as np
import pytest

from wmss_cli.results import result_tables
from wmss_cli.results.findings import Findings
from wmss_cli.results.published import BENCHMARKS, PRINTED_MEANS, TABLE_1, paper


def of_model(found: Findings, path: str) -> Findings:
    """Return the findings of a study whose only base model lies there."""
    models = dict.fromkeys(found.models, path)
    study = found.study.model_copy(update={"models": models, "tables": ["paper"]})
    return found.model_copy(update={"study": study})


@pytest.mark.parametrize("model", TABLE_1)
@pytest.mark.parametrize("place", [0, 1])
def test_each_printed_mean_is_that_of_its_row_but_for_one(model: str, place: int) -> None:
    kind = ("mathematics", "code")[place]
    own = np.array([value == kind for value in BENCHMARKS.values()])
    for arm, values in TABLE_1[model].items():
        assert len(values) == len(BENCHMARKS)
        mean = float(np.array(values)[own].mean())
        # The paper prints 72.9 for the mean of a row that makes 72.786.
        odd = (model, place, arm) == ("Qwen3-8B-Base", 0, "wmss")
        off = 0.115 if odd else 0.0501
        assert mean == pytest.approx(PRINTED_MEANS[model][arm][place], abs=off), arm


def test_a_study_of_the_papers_model_is_shown_next_to_the_paper(found: Findings) -> None:
    table = paper(of_model(found, "models/Qwen3-4B-Base"))
    assert table.columns == ["GSM8K", "HumanEval"]
    rows = {row.name: row.cells for row in table.rows}
    assert rows.keys() <= {"sft", "undial", "neftune", "wmss"}
    assert [cell.text for cell in rows["wmss"]] == ["88.5", "74.4"]
    score = next(arm for arm in found.arms if arm.arm == "wmss").tasks["gsm8k"]
    assert rows["wmss"][0].small.startswith(f"here {100 * score.accuracy.mean:.1f}, ")


def test_means_are_compared_over_the_papers_benchmarks_alone(found: Findings) -> None:
    tasks = [found.tasks[0].model_copy(update={"name": name}) for name in list(BENCHMARKS)[:7]]
    whole = of_model(found, "Qwen2.5-3B").model_copy(update={"tasks": tasks})
    assert paper(whole).columns[-1] == "mathematics, mean"
    row = next(row for row in paper(whole).rows if row.name == "wmss")
    assert row.cells[-1].text == "56.2"
    less = whole.model_copy(update={"tasks": tasks[:-1]})
    assert "mathematics, mean" not in paper(less).columns


def test_another_base_model_is_not_shown_next_to_the_paper(found: Findings) -> None:
    assert result_tables.tables(of_model(found, "models/Qwen3-4B")) == []
