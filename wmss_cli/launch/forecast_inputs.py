"""What a forecast starts from: the GPUs of the training jobs, the samples, the benchmarks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmss_cli.core.config import Config
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.manifest import MANIFEST
from wmss_cli.evaluate.problems import read_problems
from wmss_cli.evaluate.tasks import Task, find_spec, read_spec, shipped
from wmss_cli.launch.profile import Profile
from wmss_cli.train.fitting import USABLE

GB = 10**9

_SIZES = "give --samples and --mean-tokens"


@dataclass(frozen=True)
class Gpus:
    """What a training job gets.

    Attributes
    ----------
    nodes, per_node : int
        One process runs on each GPU.
    mem_gb : float
        Of one GPU.
    tflops : float
        Dense bf16 TFLOP/s of one GPU.
    """

    nodes: int
    per_node: int
    mem_gb: float
    tflops: float

    @property
    def count(self) -> int:
        """All GPUs."""
        return self.nodes * self.per_node

    @property
    def usable(self) -> int:
        """Bytes of one GPU to plan with."""
        return int(USABLE * self.mem_gb * GB)


@dataclass(frozen=True)
class Workload:
    """The samples to train on.

    Attributes
    ----------
    samples : int
        How many there are.
    lengths : sequence of int
        Tokens of each sample, or one mean for all.
    completion_tokens : float
        Mean of a sample.
    longest : int
        Tokens of the longest sample.
    source : str
        Where this is known from.
    """

    samples: int
    lengths: Sequence[int]
    completion_tokens: float
    longest: int
    source: str

    @property
    def mean_tokens(self) -> float:
        """Mean tokens of a sample."""
        return sum(self.lengths) / len(self.lengths)


@dataclass(frozen=True)
class Rates:
    """Fractions of the GPUs' peak FLOP/s that work reaches: guesses, to be replaced by yours.

    Attributes
    ----------
    share : float
        Of training, and of passes without gradients.
    generation : float
        Of answers, which are written token by token: each token reads all weights and the keys and
        values of those before it, so memory sets the pace.
    """

    share: float = 0.4
    generation: float = 0.05


RATES = Rates()


@dataclass(frozen=True)
class Benchmark:
    """What evaluation asks on one task.

    Attributes
    ----------
    name : str
        Of the task.
    problems : int
        How many are asked.
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
        None where the configuration names no task.
    samples : int
        Answers to each problem.
    prompt_tokens, answer_tokens : int
        Means. An answer has at most the limit of its benchmark.
    """

    benchmarks: tuple[Benchmark, ...]
    samples: int
    prompt_tokens: int
    answer_tokens: int


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
        As long as a completion of the samples where it is left out.
    rows : int, optional
        Problems of each task whose number is not known.

    Raises
    ------
    ConfigError
        If the number of problems of a task is not known.
    """
    completion = round(work.completion_tokens)
    answer = completion if mean_answer_tokens is None else mean_answer_tokens
    return Answers(
        benchmarks=tuple(_benchmarks(config, rows)),
        samples=config.eval.samples,
        prompt_tokens=max(0, round(work.mean_tokens) - completion),
        answer_tokens=answer,
    )


def _benchmarks(config: Config, rows: int | None) -> Iterator[Benchmark]:
    known = shipped()
    for reference in config.tasks:
        spec = find_spec(reference)
        task = read_spec(spec)
        file = None if task.file is None else spec.parent / task.file
        yield _benchmark(task, file, config, rows)
    for name, path in config.eval_files.items():
        task = read_spec(known[name]) if name in known else Task(name=name, title=name)
        yield _benchmark(task, Path(path), config, rows)


def _benchmark(task: Task, file: Path | None, config: Config, rows: int | None) -> Benchmark:
    limit, longest = config.eval.limit, config.eval.max_new_tokens or task.max_new_tokens
    count = task.rows
    if count is None and file is not None and file.is_file():
        count = len(read_problems(task, file, limit))
    if count is None:
        count = rows
    if count is None:
        where = f"task {task.name}: " if file is None else f"{file}: no such file yet; "
        raise ConfigError(f"{where}give --problems, the number of problems of {task.name}")
    return Benchmark(task.name, count if limit is None else min(count, limit), longest)


def gpus_of(
    profile: Profile | None,
    nodes: int | None = None,
    gpus: int | None = None,
    mem_gb: float | None = None,
    tflops: float | None = None,
) -> Gpus:
    """Return the GPUs of a profile's training jobs; what is given counts more.

    Parameters
    ----------
    profile : Profile or None
        Of the cluster.
    nodes : int, optional
        In place of the profile's.
    gpus : int, optional
        Number of all GPUs, in place of nodes.
    mem_gb, tflops : float, optional
        Of one GPU.

    Raises
    ------
    ConfigError
        If something is not known.
    """
    if gpus is not None and nodes is not None:
        raise ConfigError("--gpus and --nodes are two ways to say how many; give one of them")
    if profile is not None:
        mem_gb = mem_gb or profile.gpu_mem_gb
        tflops = tflops or profile.gpu_tflops
    if profile is None and gpus is None:
        raise ConfigError(
            "on which GPUs? Give --profile (or launch.profile), or --gpus, --gpu-mem-gb and "
            "--gpu-tflops"
        )
    for value, key in ((mem_gb, "gpu_mem_gb"), (tflops, "gpu_tflops")):
        if value is None:
            raise ConfigError(
                f"{key} of the GPUs is not known; give --{key.replace('_', '-')}, or set {key} in "
                "the profile"
            )
    assert mem_gb is not None
    assert tflops is not None
    if gpus is not None:
        return Gpus(1, gpus, mem_gb, tflops)
    assert profile is not None
    if not profile.train.gpus_per_node:
        raise ConfigError(
            "train.gpus_per_node of the profile is 0; choose one with GPUs, or --gpus"
        )
    return Gpus(nodes or profile.train.nodes, profile.train.tasks_per_node, mem_gb, tflops)


def workload(
    config: Config,
    samples: int | None = None,
    mean_tokens: int | None = None,
    mean_completion_tokens: int | None = None,
) -> Workload:
    """Return the samples of a configuration: as given, or of the token table that is there.

    Parameters
    ----------
    config : Config
        Of the pipeline.
    samples, mean_tokens : int, optional
        Both, or none.
    mean_completion_tokens : int, optional
        All tokens where it is left out.

    Raises
    ------
    ConfigError
        If nothing is given, and the pipeline has no token table yet.
    """
    if samples is not None and mean_tokens is not None:
        if mean_tokens > config.tokenize.max_seq_len:
            raise ConfigError(
                f"--mean-tokens {mean_tokens} is above tokenize.max_seq_len "
                f"{config.tokenize.max_seq_len}; change one of them"
            )
        completion = mean_tokens if mean_completion_tokens is None else mean_completion_tokens
        if completion > mean_tokens:
            raise ConfigError("--mean-completion-tokens is above --mean-tokens; lower it")
        longest = config.tokenize.max_seq_len
        return Workload(samples, [mean_tokens], completion, longest, "options")
    if samples is not None or mean_tokens is not None or mean_completion_tokens is not None:
        raise ConfigError(f"one of the sizes of the samples is missing; {_SIZES}")
    folder = _token_table(config)
    if folder is None:
        raise ConfigError(f"{config.run_dir}: no token table of these inputs yet; {_SIZES}")
    from wmss_cli.data.tokens import TokenTable

    table = TokenTable(folder)
    completion_tokens = float(table.completion_lengths.mean())
    longest = int(table.lengths.max())
    return Workload(len(table), table.lengths.tolist(), completion_tokens, longest, str(folder))


def _token_table(config: Config) -> Path | None:
    # Fingerprints need the hashes of all inputs: only where there is something to find.
    if not any(Path(config.run_dir).glob("tokenize-*")):
        return None
    from wmss_cli.stages.pipeline import token_table

    folder = token_table(config)
    return folder if (folder / MANIFEST).is_file() else None
