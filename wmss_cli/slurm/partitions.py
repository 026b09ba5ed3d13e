"""What a cluster offers, according to sinfo, and a profile that fits it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import BaseModel

from wmss_cli.core.errors import SlurmError
from wmss_cli.slurm import commands
from wmss_cli.slurm.gpu_types import find_type
from wmss_cli.slurm.profile import Profile, Resources
from wmss_cli.slurm.queue import seconds
from wmss_cli.stages.table import Kind

_FORMAT = "%P|%a|%l|%D|%c|%m|%G"
_LONGEST_MIN = 1440
_COMMENT_COLUMN = 34


@dataclass(frozen=True)
class Partition:
    """The nodes of one size in a partition.

    Attributes
    ----------
    name : str
        Name of the partition.
    is_default, is_up : bool
        Whether jobs that name no partition go there; whether it takes jobs.
    time_limit_min : int or None
        Longest job, in minutes; None is no limit.
    nodes, cpus, gpus : int
        Nodes of this size; cores and GPUs of each.
    mem_gb : int
        Memory of each node.
    gpu_type : str or None
        Type of the GPUs, as Slurm names it.
    """

    name: str
    is_default: bool
    is_up: bool
    time_limit_min: int | None
    nodes: int
    cpus: int
    mem_gb: int
    gpus: int
    gpu_type: str | None


def partitions() -> list[Partition]:
    """Ask sinfo.

    Raises
    ------
    SlurmError
        If it does not answer.
    """
    text = commands.call("sinfo", "--noheader", "--all", f"--format={_FORMAT}")
    return list(read_partitions(text))


def read_partitions(text: str) -> Iterator[Partition]:
    """Read what sinfo prints."""
    for line in text.splitlines():
        name, up, limit, nodes, cpus, memory, gres = line.strip().split("|", 6)
        limit_s = seconds(limit)
        found = re.findall(r"gpu(?::([\w.-]+?))?:(\d+)", gres)
        yield Partition(
            name=name.rstrip("*"),
            is_default=name.endswith("*"),
            is_up=up == "up",
            time_limit_min=None if limit_s is None else max(1, limit_s // 60),
            nodes=int(nodes),
            cpus=int(cpus.rstrip("+")),
            mem_gb=int(memory.rstrip("+")) // 1024,
            gpus=sum(int(count) for _, count in found),
            gpu_type=found[0][0] or None if found else None,
        )


def destination(kind: Kind, profile: Profile, seen: Sequence[Partition]) -> list[Partition]:
    """Return the partitions where jobs of a kind go."""
    name = profile.resources(kind).partition or profile.partition
    if name is None:
        return [partition for partition in seen if partition.is_default]
    return [partition for partition in seen if partition.name in name.split(",")]


def misfit(kind: Kind, profile: Profile, seen: Sequence[Partition]) -> tuple[str, str] | None:
    """Say what jobs of a kind ask for that no node of their partition has, and what to do.

    sbatch cannot say this about jobs that wait for others, nor tell it from nodes that are down.

    Returns
    -------
    tuple of str, or None
        What is wrong and what fixes it; None if the jobs fit.
    """
    resources = profile.resources(kind)
    there = destination(kind, profile, seen)
    if not there:
        names = ", ".join(dict.fromkeys(p.name for p in seen))
        wanted = resources.partition or profile.partition
        found = f"there is no partition {wanted}" if wanted else "there is no default partition"
        return found, f"set partition to one of {names}"
    name = there[0].name
    cpus = resources.cpus_per_task * resources.tasks_per_node
    limits = [p.time_limit_min for p in there if p.time_limit_min is not None]
    types = sorted({p.gpu_type for p in there if p.gpu_type})
    most_gpus, most_cpus = max(p.gpus for p in there), max(p.cpus for p in there)
    most_gb = max(p.mem_gb for p in there)
    fitting = [
        p
        for p in there
        if p.gpus >= resources.gpus_per_node
        and p.cpus >= cpus
        and p.mem_gb >= (resources.mem_gb or 0)
        and resources.gpu_type in (None, p.gpu_type)
    ]
    nodes = sum(p.nodes for p in fitting)
    if resources.gpus_per_node > most_gpus:
        found = f"{resources.gpus_per_node} GPUs per node requested, {name} has {most_gpus}"
        if not most_gpus:
            others = [p.name for p in seen if p.gpus >= resources.gpus_per_node]
            where = f" ({', '.join(dict.fromkeys(others))} has them)" if others else ""
            return found, f"set partition{where}, or {kind}.gpus_per_node=0"
        if resources.tasks_per_node > 1:
            return found, f"set {kind}.gpus_per_node and {kind}.tasks_per_node to {most_gpus}"
        return found, f"set {kind}.gpus_per_node={most_gpus}"
    if resources.gpus_per_node and resources.gpu_type not in (None, *types):
        found = f"no GPU of type {resources.gpu_type} in {name}"
        return found, f"there are {', '.join(types) or 'no types'}; set {kind}.gpu_type"
    if cpus > most_cpus:
        found = f"{cpus} CPUs per node requested, {name} has {most_cpus}"
        return found, f"lower {kind}.cpus_per_task"
    if (resources.mem_gb or 0) > most_gb:
        found = f"{resources.mem_gb} GB per node requested, {name} has {most_gb}"
        return found, f"set {kind}.mem_gb={most_gb}"
    if len(limits) == len(there) and resources.time_limit_min > max(limits):
        found = f"{resources.time_limit_min} min requested, {name} allows {max(limits)}"
        return found, f"set {kind}.time_limit_min={max(limits)}"
    if nodes < resources.nodes:
        found = f"{resources.nodes} nodes requested, {name} has {nodes} that fit"
        return found, f"set {kind}.nodes={nodes}"
    return None


def suggest(found: Sequence[Partition]) -> dict[str, Any]:
    """Return the values of a profile for the partition with the most GPUs.

    Raises
    ------
    SlurmError
        If no partition takes jobs.
    """
    usable = [partition for partition in found if partition.is_up]
    if not usable:
        raise SlurmError("sinfo: no partition takes jobs; ask the cluster's administrators")
    best = max(usable, key=lambda p: (p.gpus, p.is_default, p.nodes))
    plain = max(usable, key=lambda p: (p.gpus == 0, p.is_default))
    per_gpu = max(1, best.gpus)
    cores = max(1, best.cpus // per_gpu)
    limit = min(best.time_limit_min or _LONGEST_MIN, _LONGEST_MIN)
    lead = max(60, min(600, 60 * limit // 4))
    share = max(1, best.mem_gb // per_gpu)
    one = {
        "gpus_per_node": min(1, best.gpus),
        "cpus_per_task": cores if best.gpus else 1,
        "mem_gb": share,
        "time_limit_min": limit,
        "signal_lead_s": lead,
    }
    train = {
        "nodes": 1,
        "tasks_per_node": per_gpu,
        "gpus_per_node": best.gpus,
        "gpu_type": best.gpu_type,
        "cpus_per_task": cores,
        # Each rank loads the models into the node's memory first.
        "mem_gb": 0,
        "time_limit_min": limit,
    }
    cpu_limit = min(plain.time_limit_min or _LONGEST_MIN, _LONGEST_MIN)
    cpu = {
        "partition": plain.name if plain.name != best.name else None,
        "cpus_per_task": min(16, plain.cpus),
        "mem_gb": min(64, plain.mem_gb),
        "time_limit_min": cpu_limit,
        "signal_lead_s": max(60, min(120, 60 * cpu_limit // 4)),
    }
    whole: dict[str, Any] = {
        "partition": best.name,
        "account": None,
        "qos": None,
        "setup": [],
        "environment": {},
    }
    known = find_type(best.gpu_type)
    if best.gpus:
        # 'wmss plan' needs them; null leaves a place for whoever knows them.
        whole |= {
            "gpu_mem_gb": known.mem_gb if known else None,
            "gpu_tflops": known.tflops if known else None,
        }
    whole |= {"array_limit": max(1, min(32, best.nodes * per_gpu // 2)), "requeue": "scontrol"}
    return {**whole, "train": train, "score": one, "eval": one, "cpu": cpu}


def render(values: Mapping[str, Any], heading: str) -> str:
    """Return a profile as YAML, each line with its meaning."""
    lines = [f"# {line}" for line in heading.splitlines()]
    for name, value in values.items():
        about = _about(Profile, name)
        if isinstance(value, Mapping) and value:
            lines += ["", _line(f"{name}:", about)]
            lines += [_line(f"  {k}: {_yaml(v)}", _about(Resources, k)) for k, v in value.items()]
        else:
            lines.append(_line(f"{name}: {_yaml(value)}", about))
    return "\n".join(lines) + "\n"


def _about(model: type[BaseModel], name: str) -> str:
    text = " ".join((model.model_fields[name].description or "").split())
    return re.split(r"[.;:](?: |$)", text.replace("`", ""))[0]


def _line(text: str, about: str) -> str:
    return f"{text:<{_COMMENT_COLUMN}}# {about}"


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
