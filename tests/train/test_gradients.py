"""Two optimizer steps through the real loop equal plain torch, for every way to shard them.

ZeRO 0 to 3, at 3 with every weight released and gathered again; one, two and four processes, of
which some have nothing to predict in the second step; recomputation on and off, weak model
co-trained and frozen, tied and untied heads, capped and biased ones, some with
layers of their own, models that read rows; all
objectives, NEFTune's noise (with `undial`); steps of unequally many packed micro-batches, clipping
that bites, unequal completion lengths.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from families import make_family
from ranks import run_ranks
from table import make_token_table
from tiny import make_tiny_model

from wmss_cli.train.objectives.table import LOSSES

MODES, HEADS = ("cotrain", "frozen"), ("tied", "untied")
FAMILIES = {
    "capped": "Gemma2",
    "biased": "Phi",
    "layered": "ModernBertDecoder",
    "rows": "Qwen3_5Text",
}


def mixed(stages: tuple[int, ...], *recomputation: str) -> list[str]:
    every = product(stages, MODES, HEADS, recomputation)
    return [f"zero{stage}-{mode}-{head}-mixed-{again}" for stage, mode, head, again in every]


# Nine tenths of it is one run of all cases, which may share its processors with others.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

OTHERS = sorted(LOSSES.keys() - {"mixed"})
PERTURBED = ("noise", "shuffled", "undial")
# A loss knows nothing of sharding but that heads are gathered, which is so at 3 alone.
SHARDED = [f"zero{stage}-frozen-tied-{name}-none" for stage in (0, 3) for name in OTHERS]
ALONE = ["zero0-frozen-tied-undial-none", "zero3-frozen-tied-noise-none"]
# What is random must be the same whoever holds a sample.
RANDOM = [f"zero{stage}-frozen-tied-{name}-none" for stage in (0, 3) for name in PERTURBED]
OTHER_HEADS = [
    f"zero{stage}-cotrain-{head}-mixed-{again}"
    for head in FAMILIES
    for stage, again in ((2, "none"), (3, "full"))
]
CASES = {
    1: mixed((0, 3), "none") + ALONE,
    2: mixed((0, 1, 2), "none") + mixed((1, 2, 3), "full") + SHARDED + OTHER_HEADS,
    4: RANDOM,
}
Rows = dict[str, dict[str, Any]]
every_case = pytest.mark.parametrize(
    ("count", "case"),
    [(count, case) for count, cases in CASES.items() for case in cases],
)


@pytest.fixture(scope="module")
def results_on(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Rows]:
    """Return what gives the rows of all cases, by the number of processes; each runs once."""

    @cache
    def run(count: int) -> Rows:
        work = tmp_path_factory.mktemp("gradients")
        for head in ("tied", "untied"):
            # The weak and the strong model need not have the same width.
            make_tiny_model(work / f"weak-{head}", seed=1, tie=head == "tied", hidden_size=32)
            make_tiny_model(work / f"strong-{head}", seed=2, tie=head == "tied", hidden_size=48)
        for head, family in FAMILIES.items():
            for seed, role in enumerate(("weak", "strong")):
                make_family(work / f"{role}-{head}", family, seed)
        lengths = [(5, 9), (3, 1), (7, 20), (2, 4), (6, 13), (4, 2), (9, 17), (3, 8)] * 4
        make_token_table(work / "tokens", work / "weak-tied", lengths)
        out = work / "results.json"
        arguments = [str(work), str(out), *CASES[count]]
        run_ranks(Path(__file__).with_name("gradients_worker.py"), arguments, count)
        return {row["case"]: row for row in json.loads(out.read_text())}

    return run


@every_case
def test_two_steps_equal_plain_torch(
    results_on: Callable[[int], Rows], count: int, case: str
) -> None:
    row = results_on(count)[case]
    assert row["moved"] > 1e-4, "the strong model did not learn: nothing was compared"
    assert row["strong"] <= 1e-5
    assert row["weak"] <= 1e-5
    assert row["losses"] == pytest.approx(row["expected_losses"], rel=1e-5)
    assert min(row["expected_norms"]) > 0.5, "clipping did not bite: nothing was compared"
    assert row["norms"] == pytest.approx(row["expected_norms"], rel=1e-4)
    assert row["released"] == ("zero3" in case)


@every_case
def test_a_frozen_weak_model_keeps_its_hash(
    results_on: Callable[[int], Rows], count: int, case: str
) -> None:
    assert results_on(count)[case]["weak_unchanged"] == ("frozen" in case)
