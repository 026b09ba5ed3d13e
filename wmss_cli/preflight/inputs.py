"""What a forecast starts from besides the samples: the GPUs, their rates, the benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wmss_cli.core.config import Config
from wmss_cli.core.errors import ConfigError
from wmss_cli.evaluate.problems import read_problems
from wmss_cli.evaluate.tasks import Task, find_spec, read_spec, shipped
from wmss_cli.preflight.workload import Workload
from wmss_cli.slurm.gpu_types import GpuType, find_type
from wmss_cli.slurm.profile import Profile
from wmss_cli.train.fitting import USABLE

GB = 10**9

LINK_GB_PER_S = 200.0
"""Assumed for a GPU's link to the others of its node, one way: NVLink of an H800."""
NETWORK_GB_PER_S = 50.0
"""Assumed for a node's network, one way: one adapter of 400 Gbit/s."""
DISK_GB_PER_S = 1.0
"""Assumed for the disk, over all ranks of a job, as in a profile that does not say it."""
PROBLEMS = 500
"""Assumed for a file of problems that does not exist yet."""


@dataclass(frozen=True)
class Gpus:
    """What a training job gets.

    Attributes
    ----------
    nodes, per_node : int
        Nodes, and GPUs of each; one process runs on each GPU.
    mem_gb : float
        Memory of one GPU.
    tflops : float
        Dense bf16 TFLOP/s of one GPU.
    link_gb_per_s, network_gb_per_s : float
        What a GPU sends to the others of its node, and a node to the others, from the data sheet.
    disk_gb_per_s : float
        Speed at which all ranks together write.
    shards_at_once : int or None
        Tasks of a job array that run at the same time, a GPU each; None if one machine does all.
    assumed : tuple of str
        Sentences on which of these are not known.
    """

    nodes: int
    per_node: int
    mem_gb: float
    tflops: float
    link_gb_per_s: float = LINK_GB_PER_S
    network_gb_per_s: float = NETWORK_GB_PER_S
    disk_gb_per_s: float = DISK_GB_PER_S
    shards_at_once: int | None = None
    assumed: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """All GPUs."""
        return self.nodes * self.per_node

    @property
    def usable(self) -> int:
        """Bytes of one GPU to plan with."""
        return int(USABLE * self.mem_gb * GB)


@dataclass(frozen=True)
class Rates:
    """Fractions of the GPUs' data-sheet FLOP/s that are reached: guesses, to be replaced by yours.

    Attributes
    ----------
    mfu : float or None
        Of a training step as a whole: its needed FLOPs, divided by time and rate. None if it
        follows from the parts of a step.
    computing : float
        While a pass computes, recomputation included; also in passes without gradients.
    generation : float
        While answers are written, token by token: each token reads all weights and the keys and
        values of those before it, so memory sets the pace.
    """

    mfu: float | None = None
    computing: float = 0.4
    generation: float = 0.05

    @property
    def forward(self) -> float:
        """In passes without gradients: as in a step, if that was measured."""
        return self.computing if self.mfu is None else self.mfu


RATES = Rates()


@dataclass(frozen=True)
class Benchmark:
    """What evaluation asks on one task.

    Attributes
    ----------
    name : str
        Name of the task.
    problems : int
        How many problems are asked.
    max_new_tokens : int
        The longest answer.
    """

    name: str
    problems: int
    max_new_tokens: int


@dataclass(frozen=True)
class Answers:
    """What evaluation asks of each model.

    Attributes
    ----------
    benchmarks : tuple of Benchmark
        Empty if the configuration names no task.
    samples : int
        Answers per problem.
    prompt_tokens, answer_tokens : int
        Means. An answer has at most the limit of its benchmark.
    assumed : tuple of str
        Sentences on what is not known.
    """

    benchmarks: tuple[Benchmark, ...]
    samples: int
    prompt_tokens: int
    answer_tokens: int
    assumed: tuple[str, ...] = ()


def answers_of(
    config: Config, work: Workload, mean_answer_tokens: int | None = None, rows: int | None = None
) -> Answers:
    """Return what evaluation asks of each model.

    Parameters
    ----------
    config : Config
        With `tasks`, `eval_files` and `eval`.
    work : Workload
        A prompt is taken to be as long as one of these samples.
    mean_answer_tokens : int, optional
        By default as long as a completion of the samples.
    rows : int, optional
        Problems of each task whose number is not known; by default an assumed number.
    """
    unknown: list[str] = []
    completion = round(work.completion_tokens)
    answer = completion if mean_answer_tokens is None else mean_answer_tokens
    benchmarks = tuple(_benchmarks(config, rows, unknown))
    assumed = []
    if unknown and rows is None:
        assumed.append(
            f"{PROBLEMS:,} problems of {', '.join(unknown)}, which do not exist yet; --problems "
            "replaces it"
        )
    if benchmarks and mean_answer_tokens is None:
        assumed.append(
            f"answers of {answer:,} tokens, as long as completions; --mean-answer-tokens replaces "
            "it"
        )
    return Answers(
        benchmarks=benchmarks,
        samples=config.eval.samples,
        prompt_tokens=max(0, round(work.mean_tokens) - completion),
        answer_tokens=answer,
        assumed=tuple(assumed),
    )


def _benchmarks(config: Config, rows: int | None, unknown: list[str]) -> Iterator[Benchmark]:
    known = shipped()
    for reference in config.tasks:
        spec = find_spec(reference)
        task = read_spec(spec)
        file = None if task.file is None else spec.parent / task.file
        yield _benchmark(task, file, config, rows, unknown)
    for name, path in config.eval_files.items():
        task = read_spec(known[name]) if name in known else Task(name=name, title=name)
        yield _benchmark(task, Path(path), config, rows, unknown)


def _benchmark(
    task: Task, file: Path | None, config: Config, rows: int | None, unknown: list[str]
) -> Benchmark:
    limit, longest = config.eval.limit, config.eval.max_new_tokens or task.max_new_tokens
    count = task.rows
    if count is None and file is not None and file.is_file():
        count = len(read_problems(task, file, limit))
    if count is None:
        unknown.append(task.name)
        count = PROBLEMS if rows is None else rows
    return Benchmark(task.name, count if limit is None else min(count, limit), longest)


def gpus_of(
    profile: Profile | None,
    nodes: int | None = None,
    gpus: int | None = None,
    mem_gb: float | None = None,
    tflops: float | None = None,
) -> Gpus:
    """Return the GPUs of a profile's training jobs; what is given overrides the profile.

    Parameters
    ----------
    profile : Profile or None
        Profile of the cluster.
    nodes : int, optional
        Overrides the profile's value.
    gpus : int, optional
        All GPUs of one machine, instead of the profile's nodes.
    mem_gb, tflops : float, optional
        Memory and rate of one GPU.

    Raises
    ------
    ConfigError
        If something is not known.
    """
    if gpus is not None and nodes is not None:
        raise ConfigError("--gpus and --nodes both say how many; give one of them")
    known = None if profile is None else find_type(profile.train.gpu_type)
    if profile is not None:
        mem_gb = mem_gb or profile.gpu_mem_gb or (known.mem_gb if known else None)
        tflops = tflops or profile.gpu_tflops or (known.tflops if known else None)
    if profile is None and gpus is None:
        raise ConfigError(
            "on which GPUs? Give --profile (or launch.profile), or --gpus, --gpu-mem-gb and "
            "--gpu-tflops"
        )
    missing = [k for v, k in ((mem_gb, "gpu_mem_gb"), (tflops, "gpu_tflops")) if v is None]
    if missing:
        flags = " and ".join(f"--{key.replace('_', '-')}" for key in missing)
        keys = " and ".join(missing)
        raise ConfigError(
            f"{keys} of the GPUs {'are' if len(missing) > 1 else 'is'} not known; give {flags}, or "
            f"in the profile {keys} or a train.gpu_type such as h100"
        )
    assert mem_gb is not None
    assert tflops is not None
    if profile is None:
        assert gpus is not None
        return Gpus(1, gpus, mem_gb, tflops, assumed=_assumed(None, 1, None))
    if gpus is None and not profile.train.gpus_per_node:
        raise ConfigError(
            "train.gpus_per_node of the profile is 0; choose one with GPUs, or --gpus"
        )
    count = 1 if gpus is not None else nodes or profile.train.nodes
    link = profile.gpu_link_gb_per_s or (known.link_gb_per_s if known else None)
    return Gpus(
        nodes=count,
        per_node=gpus or profile.train.tasks_per_node,
        mem_gb=mem_gb,
        tflops=tflops,
        link_gb_per_s=link or LINK_GB_PER_S,
        network_gb_per_s=profile.node_network_gb_per_s or NETWORK_GB_PER_S,
        disk_gb_per_s=profile.disk_gb_per_s,
        # All on one machine, without jobs.
        shards_at_once=None if gpus is not None else profile.array_limit,
        assumed=(*_by_type(profile, known), *_assumed(profile, count, link)),
    )


def _by_type(profile: Profile, known: GpuType | None) -> Iterator[str]:
    """Say what follows from the name of the GPU alone."""
    if known is None:
        return
    values = {
        "gpu_mem_gb": f"{known.mem_gb:g} GB",
        "gpu_tflops": f"{known.tflops:g} TFLOP/s",
        "gpu_link_gb_per_s": f"{known.link_gb_per_s:g} GB/s to the others of its node",
    }
    open_keys = [key for key in values if getattr(profile, key) is None]
    if open_keys:
        said = ", ".join(values[key] for key in open_keys)
        yield (
            f"{said}: the data sheet of {profile.train.gpu_type}; {', '.join(open_keys)} of the "
            "profile replace it"
        )


def _assumed(profile: Profile | None, nodes: int, link: float | None) -> tuple[str, ...]:
    said = []
    if link is None:
        said.append(
            f"{LINK_GB_PER_S:g} GB/s from a GPU to those of its node; gpu_link_gb_per_s of a "
            "profile replaces it"
        )
    if profile is not None and nodes > 1 and profile.node_network_gb_per_s is None:
        said.append(
            f"{NETWORK_GB_PER_S:g} GB/s from a node to the others; node_network_gb_per_s of the "
            "profile replaces it"
        )
    if profile is None:
        said.append(f"{DISK_GB_PER_S:g} GB/s to the disk; disk_gb_per_s of a profile replaces it")
    return tuple(said)
