"""What the doctor finds, and what to do about it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from wmss_cli.preflight import cluster_doctor, doctor
from wmss_cli.programs import sandbox
from wmss_cli.stages import probe


def test_looks_at_all_that_wmss_needs() -> None:
    findings = {finding.what: finding for finding in doctor.examine()}
    assert {
        "python",
        "CPU cores",
        "memory",
        "disk here",
        "hub",
        "GPUs",
        "eval.engine auto",
        "sandbox",
    } <= findings.keys()
    assert {"torch", "transformers", "deepspeed", "math-verify"} <= findings.keys()
    assert "mypy" not in findings, "what only developers need is not asked for"
    assert not [f for f in findings.values() if f.state == "missing"], "the suite runs here"
    assert findings["CPU cores"].found == str(len(os.sched_getaffinity(0)))
    assert all(finding.advice for finding in findings.values() if finding.state != "ok")


def test_says_what_the_engine_of_evaluation_is_here() -> None:
    (finding,) = doctor._engine()
    assert (finding.state, finding.found) == ("ok", "static, since there is no GPU")


@pytest.mark.parametrize(
    ("engine", "state"), [("vllm", "ok"), ("continuous", "note"), ("static", "note")]
)
def test_on_a_gpu_vllm_is_missed(engine: str, state: str) -> None:
    finding = doctor.engine_finding(engine, "…", gpu=True)
    assert finding.state == state
    assert finding.advice.startswith("pip install 'wmss[vllm]'") == (state == "note")


def test_on_the_nodes_the_slowest_engine_counts() -> None:
    rows = [
        {"engine": ["vllm", "vLLM is installed"], "gpus": ["H800"]},
        {"engine": None, "gpus": ["H800"]},
        {"engine": ["static", "no vLLM"], "gpus": ["H800"]},
    ]
    assert cluster_doctor._engine(rows[:2]).state == "ok"
    finding = cluster_doctor._engine(rows)
    assert (finding.state, finding.found) == (
        "note",
        "static, since no vLLM; vllm, since vLLM is installed",
    )


def test_adapters_of_two_kinds_are_named_for_nccl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_ADAPTERS", tmp_path)
    ports = {
        **{f"mlx5_{i}": ("4: ACTIVE", "InfiniBand", "400 Gb/sec (4X NDR)") for i in (0, 1, 3)},
        "mlx5_2": ("4: ACTIVE", "Ethernet", "100 Gb/sec (4X EDR)"),
        "mlx5_4": ("1: DOWN", "InfiniBand", "10 Gb/sec (4X SDR)"),
    }
    for name, values in ports.items():
        port = tmp_path / name / "ports" / "1"
        port.mkdir(parents=True)
        for file, value in zip(("state", "link_layer", "rate"), values, strict=True):
            (port / file).write_text(f"{value}\n")
    row = {"adapters": probe.adapters(), "ib_hca": ""}

    finding = cluster_doctor._adapters([row, row])
    assert finding.found == "1 of Ethernet 100 Gb/sec (4X EDR); 3 of InfiniBand 400 Gb/sec (4X NDR)"
    assert finding.state == "note"
    assert finding.advice.startswith('NCCL_IB_HCA: "=mlx5_0:1,mlx5_1:1,mlx5_3:1" in the profile')
    assert cluster_doctor._adapters([row | {"ib_hca": "=mlx5_0:1"}]).state == "ok"
    assert cluster_doctor._adapters([row | {"adapters": {"mlx5_0:1": "x"}}]).state == "ok"
    monkeypatch.setattr(probe, "_ADAPTERS", tmp_path / "none")
    assert probe.adapters() == {}


def test_a_package_that_is_missing_comes_with_the_command() -> None:
    finding = doctor._package(Requirement("wmss-no-such-package>=1.2"))
    assert (finding.state, finding.found) == ("missing", "not installed")
    assert finding.advice == "pip install 'wmss-no-such-package>=1.2'"


def test_a_package_that_is_too_old_comes_with_the_command() -> None:
    finding = doctor._package(Requirement("numpy>=999"))
    assert finding.state == "missing"
    assert finding.found[0].isdigit()
    assert finding.advice == "pip install 'numpy>=999'"


@pytest.mark.parametrize("version", ["2.8.0a0+nv25.4", "2.7.0+cu128", "2.7.0", "2.7.0.dev1"])
def test_a_local_or_early_build_counts_by_its_number(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.metadata, "version", lambda _: version)
    assert doctor._package(Requirement("torch>=2.6")).state == "ok"
    assert doctor._package(Requirement("torch>=2.9")).state == "missing"


@pytest.mark.parametrize(("value", "state"), [("1", "note"), ("0", "ok"), ("", "ok")])
def test_says_whether_the_hub_is_off(
    value: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert doctor._hub().state == state


def test_a_disk_that_is_nearly_full_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    free = type("Usage", (), {"free": 3 * 2**30})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: free)
    finding = doctor._disk()
    assert (finding.state, finding.found) == ("note", "3 GiB free")
    assert "set run_dir to a larger disk" in finding.advice


@pytest.mark.parametrize(
    ("works", "state", "found", "advice"),
    [
        ({"bubblewrap", "landlock"}, "ok", "bubblewrap", ""),
        ({"landlock"}, "note", "landlock (degraded)", "see more of this machine; forbidden"),
        (set(), "note", "none", "allow user namespaces"),
    ],
)
def test_says_in_what_sandbox_programs_run(
    works: set[str], state: str, found: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sandbox, doctor):
        monkeypatch.setattr(module, "reaches", lambda level: "" if level in works else "forbidden")
    finding = doctor._sandbox()
    assert (finding.state, finding.found) == (state, found)
    assert advice in finding.advice
