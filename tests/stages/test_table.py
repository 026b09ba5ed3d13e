"""The table of stages: every row keeps its promises, and nothing heavy is imported to read it."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from typing import Any

import pytest

from wmss_cli.core.config import Config
from wmss_cli.core.section import Section
from wmss_cli.slurm.profile import Profile, Resources
from wmss_cli.stages import shards, table
from wmss_cli.stages.shards import Sharded
from wmss_cli.stages.table import STAGES, Stage


def named(stage: Stage) -> str:
    return stage.name


def test_a_stage_is_found_by_its_name_and_by_that_of_its_shards() -> None:
    assert table.find("eval").module == "wmss_cli.stages.evaluate"
    assert table.find("eval_shard") is table.find("eval")
    with pytest.raises(KeyError, match="evil"):
        table.find("evil")


def test_no_two_stages_share_a_name_a_module_or_a_section() -> None:
    names = [name for row in STAGES for name in (row.name, row.shards) if name]
    sections = [row.section for row in STAGES if row.section]
    for found in (names, sections, [row.module for row in STAGES]):
        assert len(set(found)) == len(found)


def test_the_table_is_read_without_importing_a_stage() -> None:
    script = "import json, sys, wmss_cli.stages.table; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert {row.module for row in STAGES}.isdisjoint(json.loads(done.stdout))


@pytest.mark.parametrize("stage", STAGES, ids=named)
def test_a_module_has_what_its_row_promises(stage: Stage) -> None:
    module = stage.load()
    if stage.shards is None:
        assert table.load(stage.name) is module.run
        assert list(inspect.signature(module.run).parameters) == ["job"]
        return
    assert isinstance(module.UNIT, str)
    for name in ("total", "shard", "merge"):
        _, *wanted = inspect.signature(getattr(Sharded, name)).parameters.values()
        assert list(inspect.signature(getattr(module, name)).parameters.values()) == wanted
    assert not hasattr(module, "run"), "shards.run is the only one"
    assert table.load(stage.name) is shards.run
    assert table.load(stage.shards) is shards.run_shard
    assert table.load(stage.name, merge=True) is shards.run_merge


@pytest.mark.parametrize("stage", STAGES, ids=named)
def test_its_sections_exist_in_the_configuration_and_in_profiles(stage: Stage) -> None:
    assert isinstance(Profile().resources(stage.kind), Resources)
    if stage.section is None:
        assert stage.shards is None, "the number of shards is in its section"
        return
    section = getattr(Config(), stage.section)
    assert isinstance(section, Section)
    assert hasattr(section, "shards") == (stage.shards is not None)


def test_the_sections_of_the_configuration_that_no_stage_has() -> None:
    sections = {name for name, value in Config() if isinstance(value, Section)}
    assert sections - {row.section for row in STAGES} == {"launch"}


@pytest.mark.parametrize(
    ("stage", "metrics", "headline"),
    [
        ("curate", {"records": 1234, "kept": 1000}, "1,000 of 1,234 records kept"),
        ("tokenize", {"tokens": 50_000}, "50,000 tokens"),
        ("sft", {"steps": 1200, "last_loss": 0.12345}, "1,200 steps, loss 0.123"),
        ("joint_train", {"steps": 7, "last_loss": 1.0}, "7 steps, loss 1.000"),
        ("score_entropy", {"mean_entropy_nats": 0.5204}, "mean entropy 0.520 nats"),
        (
            "build_curriculum",
            {"unique_samples": 630, "samples": 1000},
            "630 unique of 1,000 samples",
        ),
        ("eval", {"accuracy": 0.7251}, "accuracy 72.5 %"),
        ("grade", {"accuracy": 1.0}, "accuracy 100.0 %"),
        ("report", {}, ""),
    ],
)
def test_a_headline_is_the_number_that_says_whether_it_went_well(
    stage: str, metrics: dict[str, Any], headline: str
) -> None:
    assert table.find(stage).headline(metrics) == headline
