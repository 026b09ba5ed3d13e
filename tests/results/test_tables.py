"""Tables as data, in Markdown and in LaTeX; and which of the paper's a study has."""

from __future__ import annotations

import pytest

from wmss_cli.results import detail_tables, result_tables
from wmss_cli.results.findings import Findings
from wmss_cli.results.tables import Cell, Row, Table, latex, quantity, to_latex, to_markdown

TABLE = Table(
    "odd",
    "An odd table",
    "arm",
    ["a_b", "50 %"],
    [
        Row("x|y", [Cell("1.0", "0.5 to 1.5", "up"), Cell("2")], "4b"),
        Row("z", [Cell("3", mark="down"), Cell("4")], "4b"),
    ],
    "Read it so.",
)


def test_markdown_keeps_names_in_their_cells() -> None:
    assert to_markdown(TABLE).splitlines() == [
        "### An odd table",
        "",
        "| arm | a_b | 50 % |",
        "| --- | ---: | ---: |",
        "| **4b** | | |",
        "| x\\|y | 1.0 \N{UPWARDS ARROW} (0.5 to 1.5) | 2 |",
        "| z | 3 \N{DOWNWARDS ARROW} | 4 |",
        "",
        "Read it so.",
    ]


def test_latex_is_booktabs_and_escapes() -> None:
    lines = to_latex(TABLE).splitlines()
    assert r"\begin{tabular}{lrr}" in lines
    assert r"arm & a\_b & 50 \% \\" in lines
    assert r"\multicolumn{3}{l}{\textit{4b}} \\" in lines
    assert r"x\textbar{}y & 1.0$^{\uparrow}$ {\scriptsize (0.5 to 1.5)} & 2 \\" in lines
    assert latex("\\{α}") == r"\textbackslash{}\{$\alpha$\}"  # noqa: RUF001


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0"), (0.0556, "0.0556"), (1234.0, "1,234"), (3.2e15, "3.20e15")]
)
def test_quantities_have_three_digits(value: float, shown: str) -> None:
    assert quantity(value) == shown


def cells(table: Table, name: str) -> list[str]:
    row = next(row for row in table.rows if row.name == name)
    return [cell.text for cell in row.cells]


def test_a_study_has_the_tables_that_it_names(found: Findings) -> None:
    named = [table.name for table in result_tables.tables(found)]
    assert named == ["methods", "ablation", "curriculum", "lambda", "epochs", "logits"]
    less = found.model_copy(update={"study": found.study.model_copy(update={"tables": []})})
    assert result_tables.tables(less) == []


def test_the_ablation_ticks_what_an_arm_has(found: Findings) -> None:
    table = result_tables.ablation(found)
    tick = "\N{CHECK MARK}"
    assert {row.name: [cell.text for cell in row.cells[:2]] for row in table.rows} == {
        "m1": ["", ""],
        "sft": ["", ""],
        "ceda": [tick, ""],
        "jtws": ["", tick],
        "wmss": [tick, tick],
    }


def test_sweeps_hold_the_arms_that_differ_in_one_option_and_their_origin(found: Findings) -> None:
    assert [row.name for row in result_tables.mix_lambda(found).rows] == ["0.3", "0.5", "0.7"]
    assert [row.name for row in result_tables.curriculum(found).rows] == ["wmss", "even"]
    assert cells(result_tables.curriculum(found), "even")[:3] == ["1", "0.8", "0.1"]
    note = result_tables.mix_lambda(found).note
    assert "best \N{GREEK SMALL LETTER LAMDA}: 0.5; " in note
    # 1 / (1 + 7 / 5), of M1 and M0; then of the model of the best lambda, 11, and its weak one.
    assert "before joint training: 0.417;" in note
    assert "after joint training: 0.312." in note


def test_an_accuracy_links_to_an_answer_that_is_shown(found: Findings) -> None:
    table = result_tables.methods(found)
    place = [arm.arm for arm in found.arms].index("wmss")
    row = next(row for row in table.rows if row.name == "wmss")
    assert row.cells[0].link == result_tables.anchor(place, 0)
    nothing = found.model_copy(update={"problems": []})
    assert not any(cell.link for row in result_tables.methods(nothing).rows for cell in row.cells)


def test_means_of_kinds_exist_where_a_kind_has_several_tasks(found: Findings) -> None:
    assert result_tables.methods(found).columns == ["GSM8K", "HumanEval", "mean"]
    tasks = [*found.tasks, found.tasks[0].model_copy(update={"name": "amc23", "title": "AMC 23"})]
    more = found.model_copy(update={"tasks": tasks})
    assert result_tables.methods(more).columns == [
        "GSM8K",
        "AMC 23",
        "mathematics, mean",
        "HumanEval",
        "mean",
    ]


def test_the_account_of_an_arm(found: Findings) -> None:
    assert cells(detail_tables.costs(found), "wmss") == ["60", "180,000", "3.00e15", "0.167"]
    assert detail_tables.costs(found).columns[-1] == "GPU-hours"
    assert cells(detail_tables.curricula(found), "wmss")[:4] == [
        "30.0",
        "65.0",
        "5.0",
        "100 of 200",
    ]
    assert len(detail_tables.difficulty(found).columns) == 7
    score = next(arm for arm in found.arms if arm.arm == "base").tasks["gsm8k"]
    assert cells(detail_tables.cut(found), "base")[0].startswith(f"{score.cut} (")
    assert detail_tables.several_answers(found).rows == []


def test_options_that_all_arms_share_are_left_out() -> None:
    options = {
        "base": {"eval.limit": 4},
        "sft": {"training": "sft", "train.x": 1, "train.y": 2, "eval.limit": 4},
        "wmss": {"training": "joint_train", "train.x": 1, "train.y": 3, "eval.limit": 5},
    }
    assert detail_tables.differences(options) == {
        "eval.limit": {"base": "4", "sft": "4", "wmss": "5"},
        "training": {"base": "-", "sft": "sft", "wmss": "joint_train"},
        "train.y": {"base": "-", "sft": "2", "wmss": "3"},
    }
