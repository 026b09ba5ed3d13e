"""Whether a cluster has what a profile asks for; ``examine_jobs`` sends a job to find out more."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

from wmss_cli.core.errors import SlurmError, StageError
from wmss_cli.core.files import write_text
from wmss_cli.core.manifest import read_manifest
from wmss_cli.preflight.doctor import Finding, engine_finding
from wmss_cli.slurm import commands, script
from wmss_cli.slurm.chain import Group, Link
from wmss_cli.slurm.ledger import Ledger
from wmss_cli.slurm.partitions import Partition, destination, misfit, partitions
from wmss_cli.slurm.profile import Profile, Resources
from wmss_cli.slurm.queue import ask_accounts
from wmss_cli.slurm.runs import active_jobs, cancel
from wmss_cli.slurm.send import submit
from wmss_cli.slurm.status import run_status
from wmss_cli.stages.plan import Plan, external
from wmss_cli.stages.probe_config import RANKS_FILE, ProbeConfig
from wmss_cli.stages.table import STAGES, Kind

_COMMANDS = ("sbatch", "squeue", "scontrol", "scancel", "sinfo", "srun")
_NOT_CONFIGURED = re.compile(
    r"configuration source|resolve_ctls|slurm\.conf|DNS SRV", re.IGNORECASE
)
_POLL_S = 10.0
_SLOW_GB_PER_S = 5.0


def examine_cluster(profile: Profile | None) -> list[Finding]:
    """Check Slurm from the login node: what is here, and what a profile, if given, asks for."""
    missing = [name for name in _COMMANDS if shutil.which(name) is None]
    if missing:
        return [_no_slurm(profile, f"not found: {', '.join(missing)}")]
    try:
        config = commands.cluster_config()
        seen = partitions()
    except SlurmError as error:
        return [_no_slurm(profile, str(error))]
    findings = [
        Finding(what="Slurm", state="ok", found=f"{config.version}, cluster {config.name}"),
        _accounting(config.accounting),
        Finding(what="MaxArraySize", state="ok", found=f"{config.max_array_size} tasks per array"),
    ]
    for kind in get_args(Kind) if profile is not None else ():
        assert profile is not None
        findings.append(_resources(kind, profile, seen))
        findings.append(_verdict(kind, profile))
    for name in commands.overriding_variables():
        advice = "set it in the profile, if jobs need it"
        findings.append(
            Finding(what=name, state="note", found="set, but not used by wmss", advice=advice)
        )
    return findings


def _no_slurm(profile: Profile | None, found: str) -> Finding:
    """Say that Slurm does not answer; that is an error only if a profile is given."""
    advice = "run this on a login node; --cluster local needs no Slurm"
    if not found.startswith("not found") and not _NOT_CONFIGURED.search(found):
        advice = "the controller is down or busy: try again, or ask the cluster's administrators"
    return Finding(
        what="Slurm",
        state="missing" if profile is not None else "note",
        found=found,
        advice=advice,
    )


def _accounting(there: bool) -> Finding:
    """Ask sacct, if there is one: even if a cluster keeps accounts, it may not answer."""
    advice = "status shows no GPU-hours and no efficiency; the rest works"
    if not there:
        return Finding(what="accounting", state="note", found="off", advice=advice)
    try:
        ask_accounts(["1"], time.time())
    except SlurmError as error:
        return Finding(what="accounting", state="note", found=str(error), advice=advice)
    return Finding(what="accounting", state="ok", found="sacct answers for ended jobs")


def _resources(kind: Kind, profile: Profile, seen: Sequence[Partition]) -> Finding:
    """Compare what one kind of job asks for with the partition it goes to."""
    problem = misfit(kind, profile, seen)
    if problem is not None:
        found, advice = problem
        return Finding(what=f"{kind} jobs", state="missing", found=found, advice=advice)
    resources = profile.resources(kind)
    asked = f"{resources.nodes} x {resources.gpus_per_node} GPUs" if resources.gpus else "CPUs"
    name = resources.partition or profile.partition or "the default partition"
    return Finding(what=f"{kind} jobs", state="ok", found=f"{asked} in {name}")


def _verdict(kind: Kind, profile: Profile) -> Finding:
    """Let sbatch check a script of this kind."""
    stage = next(row.name for row in STAGES if row.kind == kind)
    plan = Plan(Path.cwd())
    plan.add("doctor", stage, ProbeConfig(), {})
    group = Group(steps=plan.steps, profile=profile, profile_name="doctor", max_array_size=1)
    link = Link("wmss-doctor", plan.steps[0], group, (plan.steps[0].job,), kind)
    try:
        said = script.test_only(script.render(link, Path.cwd(), 1, None))
    except SlurmError as error:
        advice = "change the profile: partition, account, qos, sizes"
        return Finding(what=f"{kind} test", state="missing", found=str(error), advice=advice)
    return Finding(what=f"{kind} test", state="ok", found=said)


def examine_jobs(profile: Profile, name: str, say: Callable[[str], None]) -> list[Finding]:
    """Send a small job to two nodes, wait for it, and return what it saw.

    Parameters
    ----------
    profile : Profile
        Its ``train`` section says what is asked for; the job is short, and has two nodes if the
        partition has them.
    name : str
        Name of the profile.
    say : callable
        Called with a line while it waits.

    Raises
    ------
    StageError
        If the job fails.
    """
    folder = Path.cwd() / f".wmss-doctor-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o700)
    token = uuid.uuid4().hex
    write_text(folder / "token", token)
    short = {"time_limit_min": 10, "signal_lead_s": 60, "nodes": _two_nodes(profile)}
    train = Resources.model_validate(profile.train.model_dump() | short)
    plan = Plan(folder)
    plan.add("probe", "probe", ProbeConfig(token=token), {"token": external(folder / "token")})
    asked = profile.model_copy(update={"train": train, "requeue": "scontrol"})
    group = Group(steps=plan.steps, profile=asked, profile_name=name, max_array_size=1)
    submit(folder, [group])
    ledger = Ledger(folder)
    try:
        _wait(ledger, say)
    except BaseException:
        jobs = active_jobs(ledger, [])
        if jobs:
            cancel(ledger, jobs)
        raise
    out = Path(plan.steps[0].job.out)
    rows = json.loads((out / RANKS_FILE).read_text(encoding="utf-8"))
    speed = float(read_manifest(out).metrics["all_reduce_gb_per_s"])
    shutil.rmtree(folder, ignore_errors=True)
    return list(_findings(rows, speed, train))


def _two_nodes(profile: Profile) -> int:
    there = destination("train", profile, partitions())
    fitting = [p.nodes for p in there if p.gpus >= profile.train.gpus_per_node]
    return min(2, sum(fitting) or 1)


def _wait(ledger: Ledger, say: Callable[[str], None]) -> None:
    shown = ""
    while True:
        (stage,) = run_status(ledger).stages
        if stage.words != shown:
            shown = stage.words
            say(f"job {', '.join(stage.jobs)}: {shown}" if stage.jobs else shown)
        if stage.state == "done":
            return
        if stage.failure is not None:
            raise StageError(f"the job failed ({stage.failure.why}); see {stage.failure.log}")
        time.sleep(_POLL_S)


def _findings(rows: list[dict[str, Any]], speed: float, train: Resources) -> Iterator[Finding]:
    nodes = sorted({row["node"] or row["host"] for row in rows})
    yield Finding(what="job", state="ok", found=f"{len(rows)} ranks on {', '.join(nodes)}")
    yield _each(
        rows,
        "shared_file",
        ("shared folder", "a file written here was read on all nodes"),
        ("not read on", "start runs in a folder that all nodes share"),
    )
    yield _environment(rows)
    yield _gpus(rows, train)
    yield _engine(rows)
    yield Finding(
        what="all-reduce",
        state="note" if train.gpus and speed < _SLOW_GB_PER_S and len(nodes) > 1 else "ok",
        found=f"{speed:.2f} GB/s over {len(rows)} ranks on {len(nodes)} nodes",
        advice="NCCL_DEBUG: INFO in the profile's environment shows which network it takes; "
        "NCCL_IB_HCA says which it should take"
        if train.gpus and speed < _SLOW_GB_PER_S and len(nodes) > 1
        else "",
    )
    if train.gpus and any(row["adapters"] for row in rows):
        yield _adapters(rows)
    yield _each(
        rows,
        "scontrol",
        ("scontrol", "on all nodes: jobs requeue themselves"),
        ("not on", "set requeue: chain in the profile"),
    )
    yield _each(
        rows,
        "bubblewrap",
        ("sandbox", "bubblewrap runs on all nodes"),
        ("no bubblewrap on", "programs of models can only run in a weaker sandbox there"),
        optional=True,
    )


def _adapters(rows: list[dict[str, Any]]) -> Finding:
    """Say which adapters the nodes have; unless some are named, NCCL may take those for storage."""
    kinds: dict[str, set[str]] = {}
    for row in rows:
        for port, kind in row["adapters"].items():
            kinds.setdefault(kind, set()).add(port)
    most = max(kinds.values(), key=len)
    listed = ",".join(sorted(most))
    mixed = len(kinds) > 1 and not any(row["ib_hca"] for row in rows)
    return Finding(
        what="adapters",
        state="note" if mixed else "ok",
        found="; ".join(f"{len(ports)} of {kind}" for kind, ports in sorted(kinds.items())),
        advice=f"NCCL_IB_HCA: \"={listed}\" in the profile's environment, if those are the GPUs'"
        if mixed
        else "",
    )


def _environment(rows: list[dict[str, Any]]) -> Finding:
    """Compare the Pythons of all ranks with each other, and with this one."""
    there = {(row["python"], row["wmss"], row["torch"].split("+")[0]) for row in rows}
    here = (sys.executable, version("wmss"), version("torch").split("+")[0])
    found = "; ".join(f"{p}, wmss {w}, torch {t}" for p, w, t in sorted(there))
    state: Literal["ok", "note", "missing"] = "ok"
    advice = ""
    if len(there) > 1:
        state, advice = "missing", "install wmss in a folder that all nodes share"
    elif there != {here}:
        # A container has another Python on purpose.
        state = "note"
        advice = f"here it is {here[0]}, wmss {here[1]}, torch {here[2]}; is that intended?"
    return Finding(what="environment", state=state, found=found, advice=advice)


def _engine(rows: list[dict[str, Any]]) -> Finding:
    """Say what ``eval.engine: auto`` means on the nodes: the first rank of each has checked."""
    there = sorted({tuple(row["engine"]) for row in rows if row["engine"]})
    found = "; ".join(f"{engine}, since {why}" for engine, why in there)
    slowest = next((engine for engine, _ in there if engine != "vllm"), "vllm")
    return engine_finding(slowest, found, gpu=any(row["gpus"] for row in rows))


def _each(
    rows: list[dict[str, Any]],
    key: str,
    good: tuple[str, str],
    bad: tuple[str, str],
    optional: bool = False,
) -> Finding:
    without = sorted({row["node"] or row["host"] for row in rows if not row[key]})
    if not without:
        return Finding(what=good[0], state="ok", found=good[1])
    return Finding(
        what=good[0],
        state="note" if optional else "missing",
        found=f"{bad[0]} {', '.join(without)}",
        advice=bad[1],
    )


def _gpus(rows: list[dict[str, Any]], train: Resources) -> Finding:
    if not train.gpus_per_node:
        return Finding(what="GPUs", state="ok", found="none asked for")
    few = [row for row in rows if len(row["gpus"]) not in (1, train.gpus_per_node)]
    if few or not all(row["gpus"] for row in rows):
        counts = ", ".join(f"{row['node']}: {len(row['gpus'])}" for row in rows)
        return Finding(
            what="GPUs",
            state="missing",
            found=f"torch sees {counts} of {train.gpus_per_node}",
            advice="install a CUDA build of torch that fits the nodes' driver",
        )
    names = sorted({name for row in rows for name in row["gpus"]})
    return Finding(what="GPUs", state="ok", found=f"{train.gpus} of {', '.join(names)}")
