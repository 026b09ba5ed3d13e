"""What doctor says of a cluster, by asking it."""

from __future__ import annotations

from pathlib import Path

import pytest
from slurm.fake_slurm import FakeSlurm

from wmss_cli.preflight.cluster_doctor import examine_cluster
from wmss_cli.preflight.doctor import Finding
from wmss_cli.slurm.partitions import Partition, misfit
from wmss_cli.slurm.profile import Profile, Resources


def finding(what: str) -> Finding:
    (found,) = [one for one in examine_cluster(None) if one.what == what]
    return found


def test_sacct_is_asked_before_it_is_said_to_answer(slurm: FakeSlurm) -> None:
    assert finding("accounting").state == "ok"
    assert len(slurm.calls("sacct")) == 1
    slurm.answer("sacct", stderr="sacct: error: Connection refused", code=1)
    found = finding("accounting")
    assert (found.state, found.found) == ("note", "sacct: Connection refused")
    assert found.advice.startswith("status shows no GPU-hours")


def test_a_controller_that_is_down_is_not_a_wrong_machine(
    slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    down = "slurm_load_ctl_conf error: Unable to contact slurm controller (connect failure)"
    slurm.answer("scontrol", stderr=down, code=1)
    assert finding("Slurm").advice.startswith("the controller is down or busy: try again")
    unknown = "scontrol: error: fetch_config: DNS SRV lookup failed"
    slurm.answer("scontrol", stderr=unknown, code=1)
    assert finding("Slurm").advice.startswith("run this on a login node")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert finding("Slurm").advice.startswith("run this on a login node")


@pytest.mark.parametrize(
    ("profile", "advice"),
    [
        (Profile(partition="gpu", score=Resources(gpus_per_node=5)), "set score.gpus_per_node=4"),
        (
            Profile(partition="gpu", score=Resources(gpus_per_node=5, tasks_per_node=5)),
            "set score.gpus_per_node and score.tasks_per_node to 4",
        ),
        (
            Profile(partition="cpu", score=Resources(gpus_per_node=1)),
            "set partition (gpu has them), or score.gpus_per_node=0",
        ),
    ],
)
def test_the_advice_fits_what_was_asked(profile: Profile, advice: str) -> None:
    seen = [
        Partition("gpu", True, True, None, 2, 64, 500, 4, "h800"),
        Partition("cpu", False, True, None, 2, 64, 500, 0, None),
    ]
    found = misfit("score", profile, seen)
    assert found is not None
    assert found[1] == advice
