"""The records that curation is measured on."""

from __future__ import annotations

import json
from pathlib import Path

from wmss_cli.answers.graders import check_math
from wmss_cli.bench.curate import check_alone, write_records


def test_all_answers_are_right_for_the_stage_and_for_the_plain_loop(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    write_records(path, 60)
    records = [json.loads(line)["messages"] for line in path.read_text().splitlines()]
    assert len({reply["content"] for _, reply in records}) == 60
    for question, reply in records:
        gold = question["info"]["reference_answer"]
        assert check_math(reply["content"], gold).correct, gold
    assert check_alone(path) == 60
