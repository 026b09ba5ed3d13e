"""The configuration: one frozen model per stage, and their defaults.

The values come from (strongest first) command-line options, ``--set a.b=c``, the YAML
file, and the defaults below; :mod:`wmss_cli.core.resolve` merges them. The text under
each field is its documentation: ``docs/configuration.md`` is made from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from wmss_cli.core.section import Count, Day, NonNegative, Positive, Section, Seed
from wmss_cli.core.training_config import JointConfig, SftConfig, TrainConfig, check_ranks

__all__ = [
    "SYSTEM_PROMPT",
    "TEMPLATE_DATE",
    "AnalyzeConfig",
    "Config",
    "CurateConfig",
    "CurriculumConfig",
    "EvalConfig",
    "ExtrapolateConfig",
    "GradeConfig",
    "JointConfig",
    "LaunchConfig",
    "ScoreConfig",
    "Section",
    "SftConfig",
    "TokenizeConfig",
    "TrainConfig",
    "check_ranks",
]

SYSTEM_PROMPT = (
    "You are a helpful assistant. To answer the user's question, you first think about the "
    "reasoning process and then provide the user with the answer. The reasoning process and "
    "answer are enclosed within <think> and <answer> tags, respectively, i.e., <think> reasoning "
    "process here </think> <answer> answer here </answer>."
)
"""Table 7 of the paper, to the letter."""

TEMPLATE_DATE = "2024-07-26"
"""The date that Llama 3's templates use if they cannot know today's."""


class CurateConfig(Section):
    """Which records are kept."""

    EXECUTION = frozenset({"workers", "shards", "unsafe_programs"})
    # 2: only rare phrases count, and near-duplicates have to answer the same question.
    RULES = 2

    format: Literal["tags", "any"] = "tags"
    """`tags`: exactly one <think>…</think> and one <answer>…</answer>; `any`: any form."""
    unverifiable: Literal["reject", "keep"] = "reject"
    """What happens to a record whose answer cannot be checked against anything."""
    unsafe_programs: bool = False
    """Run programs of models without a sandbox if none works; otherwise that is an error."""
    deduplicate: Literal["none", "exact", "near"] = "near"
    """`exact` rejects a record whose prompt and completion both equal those of an earlier one,
    apart from case and white space; `near` also rejects one that is nearly equal to an earlier one
    and has the same numbers in its prompt and the same reference answer or tests."""
    near_threshold: Annotated[float, Field(gt=0.0, le=0.99)] = 0.8
    """Two records are nearly equal from this overlap on (Jaccard similarity of their sets of five
    words in a row, estimated by MinHash)."""
    shards: Count | None = None
    """Number of shards, which are checked one after another, or in parallel: by `launch.processes`
    on this machine, as far as there are CPU cores for `workers`, or as Slurm jobs. Finished shards
    are not done again. If null: one per process on this machine, or one Slurm job."""
    verify_timeout_s: Positive = 10.0
    """Time limit for checking one answer, in seconds; a check that exceeds it is a rejection."""
    limit: Count | None = None
    """Read at most this many records (all if null)."""
    workers: Count = 2
    """Processes that check answers, for each shard."""


class TokenizeConfig(Section):
    """How a sample is rendered and cut: one token table serves every later stage."""

    NEUTRAL: ClassVar[Mapping[str, Any]] = {"template_date": TEMPLATE_DATE}

    system_prompt: str = SYSTEM_PROMPT
    """The system message before every prompt. The default is the paper's (Table 7)."""
    template_date: Day = TEMPLATE_DATE
    """The date for a chat template that would write today's, so that prompts are the same every
    day. `eval` must have the same."""
    max_seq_len: Annotated[int, Field(ge=2)] = 8192
    """Longest sample, in tokens, prompt and completion together."""
    too_long: Literal["drop", "truncate"] = "drop"
    """What happens to a longer sample: left out, or cut at the end. Both are counted."""


class ScoreConfig(Section):
    """Entropy of a model on every sample (Eq. 8)."""

    EXECUTION = frozenset({"shards", "max_batch_tokens", "kernels"})

    shards: Count | None = None
    """Number of shards, which are scored one after another, or in parallel: by `launch.processes`
    on this machine, or as Slurm jobs. Finished shards are not done again. If null: four per process
    on this machine, so that none is idle for long (one if there is one process), or one Slurm
    job."""
    max_batch_tokens: Count = 16384
    """Most tokens of a forward pass. Samples are packed into it; a longer one has a pass of its
    own."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` is bf16 on a GPU and fp32 on a CPU; the softmax is always fp32."""
    kernels: Literal["auto", "liger", "none"] = "auto"
    """What computes RMSNorm, rotary embeddings and SwiGLU on a GPU, as in training."""


class CurriculumConfig(Section):
    """Weights from the change of the entropy (Eq. 10), and the weighted sample."""

    NEUTRAL: ClassVar[Mapping[str, Any]] = {"choice": "weighted"}

    choice: Literal["weighted", "random"] = "weighted"
    """Which samples are drawn. `random`: as many of each multiplicity as in the weighted draw,
    assigned to random samples, to test the choice at equal repetition."""
    alpha: NonNegative = 0.1
    """Weight of the weak model's entropy: samples that the weak model finds hard."""
    beta: NonNegative = 0.8
    """Weight of falling entropy, [-dH]+: samples that were learnt."""
    gamma: NonNegative = 0.1
    """Weight of rising entropy, [dH]+: samples that were forgotten."""
    normalization: Literal["paper", "per_term"] = "paper"
    """`paper`: one normalisation at the end; `per_term`: each term sums to 1 before it is mixed."""
    sampling: Literal["with_replacement", "without_replacement"] = "with_replacement"
    """How the active set is drawn; without replacement, by Gumbel top-k."""
    multiplier: Positive = 1.0
    """Size of the active set, as a multiple of the number of samples."""
    seed: Seed = 0
    """Seed of the draw."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.sampling == "without_replacement" and self.multiplier > 1.0:
            raise ValueError(
                "sampling without_replacement draws no sample twice; set multiplier to 1 or less"
            )
        if self.alpha == self.beta == self.gamma == 0.0:
            raise ValueError("alpha, beta and gamma are all zero; set one above zero")
        return self


class EvalConfig(Section):
    """Generation and grading."""

    EXECUTION = frozenset({"shards", "workers", "engine", "batch_size", "unsafe_programs"})

    NEUTRAL: ClassVar[Mapping[str, Any]] = {"template_date": TEMPLATE_DATE}

    # 2: exact numbers are compared exactly, and a program is found by what it defines.
    RULES = 2

    shards: Count | None = None
    """Number of shards, which are answered and graded one after another, or in parallel: by
    `launch.processes` on this machine, or as Slurm jobs. Finished shards are kept. If null: one per
    process on this machine, or one Slurm job."""
    max_new_tokens: Count | None = None
    """Longest answer to any task, in tokens; one that reaches it is counted as truncated. If null,
    each task has its own: 4096, and 8192 for AIME 2025 and AMC 23."""
    samples: Count = 1
    """Answers per problem. More than one gives mean@n, pass@k and maj@k."""
    temperature: NonNegative = 0.0
    """Sampling temperature; 0 is greedy: always the most probable token."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Draw only from the most probable tokens that together have this probability."""
    prompt: Literal["paper", "boxed"] = "paper"
    """`paper`: the question alone; the system prompt says what an answer looks like. `boxed`: the
    prompt also asks to put the final answer within a box, as Qwen's evaluation does."""
    engine: Literal["auto", "static", "continuous", "vllm", "plain"] = "auto"
    """What writes the answers. `vllm` comes with the extra `vllm`. `continuous`: transformers'
    paged attention; on a GPU it needs a flash-attention package, on a CPU it is slow and only for
    comparisons. `static`: the next prompts take the places of finished answers. `plain`: one by
    one, with any model. `auto`: on a GPU the first of `vllm`, `continuous` and `static` that works
    there; on a CPU, and for sampled answers, which depend on the engine, `static`."""
    batch_size: Count | None = None
    """Most answers written at a time. If null: 64 for `static`, otherwise as many as fit in
    memory."""
    limit: Count | None = None
    """Take only the first rows of each file (all if null)."""
    system_prompt: str = SYSTEM_PROMPT
    """As in `tokenize`."""
    template_date: Day = TEMPLATE_DATE
    """As in `tokenize`."""
    verify_timeout_s: Positive = 10.0
    """Time limit for grading one answer, in seconds; beyond it the answer counts as wrong."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` is bf16 on a GPU and fp32 on a CPU."""
    workers: Count = 2
    """Processes that grade answers."""
    unsafe_programs: bool = False
    """Run programs of models without a sandbox if none works; otherwise that is an error."""
    seed: Seed = 0
    """Seed of the sampling: each answer has its own, made from this one, the task, the problem and
    the answer's number."""

    @model_validator(mode="after")
    def _draws_differ(self) -> EvalConfig:
        if self.temperature == 0.0 and (self.samples > 1 or self.top_p < 1.0):
            raise ValueError("samples and top_p need a temperature above 0: greedy answers are one")
        return self

    def identity(self) -> dict[str, Any]:
        """Return what decides the answers; engines sample differently, but agree when greedy."""
        if self.temperature > 0.0:
            return super().identity() | {"engine": self.engine}
        # Nothing is sampled: all seeds are the same work, with the name of the default one.
        return super().identity() | {"seed": 0}


class GradeConfig(Section):
    """Grading of existing answers: what `wmss grade` takes from the section of eval."""

    EXECUTION = frozenset({"workers", "unsafe_programs"})
    RULES = EvalConfig.RULES

    unsafe_programs: bool
    """As in `eval`."""
    verify_timeout_s: Positive
    """As in `eval`."""
    workers: Count
    """As in `eval`."""


class ExtrapolateConfig(Section):
    """Weight extrapolation (ExPO): theta_1 + factor * (theta_1 - theta_0), without training."""

    factor: NonNegative = 0.5
    """How far beyond the fine-tuned model, as a multiple of the step from the base model to it."""


class AnalyzeConfig(Section):
    """Logit statistics (Tables 2 and 6)."""

    samples: Count = 200
    """Samples drawn for the statistics."""
    max_batch_tokens: Count = 16384
    """Most tokens of a forward pass. Samples are packed into it; a longer one has a pass of its
    own."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` is bf16 on a GPU and fp32 on a CPU."""
    seed: Seed = 0
    """Seed of the draw."""


class LaunchConfig(Section):
    """How stages are started: here, or as jobs of a Slurm cluster."""

    cluster: Literal["local", "slurm"] = "local"
    """`local` runs on this machine; `slurm` submits jobs and returns."""
    processes: Count | None = None
    """Processes of a stage on this machine: the ranks of a training stage, or those that share the
    shards of curation, scoring and evaluation, never more than there are GPUs, if there are any. If
    null: one per visible GPU, or one on a CPU. With Slurm, the profile decides."""
    profile: str | None = None
    """What jobs ask for: `NAME` or `NAME:VARIANT` of a profile that ships with wmss, or a file."""


class Config(Section):
    """Everything that a pipeline needs, in one file."""

    run_dir: str = "runs/wmss"
    """Where the artifacts go, each into a folder `STAGE-FINGERPRINT`."""
    model: str | None = None
    """The base model M0: a Hugging Face folder, an artifact of wmss, or a hub id."""
    models: dict[str, str] = {}
    """Several base models by name, instead of `model`: a study of each."""
    data: list[str] = []
    """Records: files (JSON lines or lists, CSV, Parquet, Arrow; texts may be packed), folders of
    data sets, or hub ids. A configuration and a split may follow: `owner/name/main/train`."""
    tasks: list[str] = []
    """Benchmarks: names such as `gsm8k`, or YAML files of your own."""
    task_data: str | None = None
    """Folder with `NAME.jsonl`, or a file of another kind of this name, for each benchmark."""
    decontaminate: list[str] = []
    """Benchmarks, as in `tasks`, that must not be trained on: curation rejects a record that
    contains a question, most of one, or 13 consecutive rare words of one. The paper does not do
    this."""
    eval_files: dict[str, str] = {}
    """Further evaluation files by name, of the kinds of `data`, with `id`, `question`, `answer`."""
    iterations: Count = 1
    """K: how often curriculum and joint training are repeated."""
    arms: list[str] | dict[str, dict[str, Any] | None] = ["base", "m1", "wmss"]
    """What is compared: names of the catalogue (`wmss arms`), or arms of your own, each defined by
    how it differs from another one: `lam42: {like: wmss, joint.mix_lambda: 0.42}`."""
    seeds: list[Seed] = []
    """Every arm is trained once with each of these. If empty: once, with `seed`."""
    compare_with: str | None = None
    """The arm that the others are compared with. If null: `sft`, `continued_sft`, `m1` or `base`,
    the first of these that is run."""
    tables: list[
        Literal["methods", "ablation", "curriculum", "lambda", "epochs", "logits", "paper"]
    ] = ["methods", "epochs", "logits"]
    """What the report shows: `methods` (Table 1), `ablation` (3), `curriculum` (4), `lambda` (5),
    `epochs` (Fig. 3), `logits` (2 and 6); `paper` puts the paper's numbers next to yours if the
    model is one of the paper's."""
    verify_inputs: bool = True
    """Check the hash of every file of an artifact before a stage reads it, once on each node. A
    damaged file is an error that names it; without the check its content is trusted."""
    seed: Seed = 0
    """Seed of every section that does not set its own."""
    curate: CurateConfig = CurateConfig()
    tokenize: TokenizeConfig = TokenizeConfig()
    sft: SftConfig = SftConfig()
    score_entropy: ScoreConfig = ScoreConfig()
    curriculum: CurriculumConfig = CurriculumConfig()
    joint: JointConfig = JointConfig()
    extrapolate: ExtrapolateConfig = ExtrapolateConfig()
    eval: EvalConfig = EvalConfig()
    analyze: AnalyzeConfig = AnalyzeConfig()
    launch: LaunchConfig = LaunchConfig()

    @model_validator(mode="after")
    def _prompts_are_of_one_day(self) -> Config:
        if self.tokenize.template_date != self.eval.template_date:
            raise ValueError(
                f"tokenize.template_date is {self.tokenize.template_date} and eval.template_date "
                f"is {self.eval.template_date}; set both to the same day"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _controls_are_arms(cls, values: Any) -> Any:
        if isinstance(values, dict) and "controls" in values:
            given = values["controls"] if isinstance(values["controls"], list) else []
            arms = ", ".join(["base", "m1", "wmss", *map(str, given)])
            raise ValueError(f"controls are arms now; write arms: [{arms}] in its place")
        return values

    @field_validator("arms", mode="before")
    @classmethod
    def _arms_have_names(cls, given: Any) -> Any:
        if not isinstance(given, list | dict):
            raise ValueError("write a list of names, or a line 'NAME: {like: ARM, …}' for each")
        for name in given:
            if isinstance(name, dict):
                raise ValueError(f"a list has names only; write {next(iter(name), 'NAME')}: {{…}}")
            check_name(name)
        for name, own in given.items() if isinstance(given, dict) else ():
            if own is not None and not isinstance(own, dict):
                raise ValueError(f"{name}: expected 'key: value' lines below an arm, found {own!r}")
            for key in own or ():
                if not isinstance(key, str):
                    raise ValueError(f"{name}: {key!r} is not an option of an arm")
        return given

    @field_validator("models", mode="before")
    @classmethod
    def _models_have_names(cls, given: Any) -> Any:
        for name in given if isinstance(given, dict) else ():
            check_name(name)
        return given

    @field_validator("seeds", "tables", mode="after")
    @classmethod
    def _nothing_twice(cls, given: list[Any]) -> list[Any]:
        twice = next((one for one in given if given.count(one) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is given twice; remove one")
        return given


def check_name(name: Any) -> None:
    """Check that the name of an arm or a base model can be used for steps, jobs and tables.

    Raises
    ------
    ValueError
        If it is not a text, or has other characters.
    """
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is not a text; put the name in quotes")
    if not re.fullmatch(r"[^\W_][\w.-]*", name):
        raise ValueError(
            f"{name!r}: a name begins with a letter or a digit; letters, digits, '.', '_' and "
            "'-' follow"
        )
