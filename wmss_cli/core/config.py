"""The configuration: one frozen model per stage, and their defaults.

The values come from (strongest first) command-line options, ``--set a.b=c``, the YAML
file, and the defaults below; :mod:`wmss_cli.core.resolve` merges them. The text under
each field is its documentation: ``docs/configuration.md`` is made from it.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from wmss_cli.core.errors import ConfigError

SYSTEM_PROMPT = (
    "You are a helpful assistant. To answer the user's question, you first think about the "
    "reasoning process and then provide the user with the answer. The reasoning process and "
    "answer are enclosed within <think> and <answer> tags, respectively, i.e., <think> reasoning "
    "process here </think> <answer> answer here </answer>."
)
"""Table 7 of the paper, to the letter."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of all sections: frozen, strict, and without unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    EXECUTION: ClassVar[frozenset[str]] = frozenset()
    """Fields that change how a stage runs but not what it makes: no part of the fingerprint."""

    def identity(self) -> dict[str, Any]:
        """Return the fields that decide what the stage makes, for the fingerprint."""
        return self.model_dump(mode="json", exclude=set(self.EXECUTION))


class CurateConfig(Section):
    """Which records are kept."""

    EXECUTION = frozenset({"workers", "shards", "unsafe_programs"})

    format: Literal["tags", "any"] = "tags"
    """`tags`: exactly one <think>…</think> and one <answer>…</answer>; `any`: no matter how."""
    unverifiable: Literal["reject", "keep"] = "reject"
    """What happens to a record that has nothing to check its answer by."""
    unsafe_programs: bool = False
    """Run programs of models without a sandbox where none works; else that is an error."""
    deduplicate: Literal["none", "exact", "near"] = "near"
    """`exact` rejects a record whose prompt and completion both equal those of an earlier one, but
    for case and white space; `near` one that is nearly equal to an earlier one, too."""
    near_threshold: Annotated[float, Field(gt=0.0, le=0.99)] = 0.8
    """From this overlap on (Jaccard, of the sets of five words in a row, estimated by MinHash) two
    records are nearly equal."""
    shards: Count = 1
    """Parts that are checked one by one; what is done is not done again."""
    verify_timeout_s: Positive = 10.0
    """Time limit for checking one answer, in seconds; a check that exceeds it is a rejection."""
    limit: Count | None = None
    """Read at most this many records (all of them if null)."""
    workers: Count = 2
    """Processes that check answers."""


class TokenizeConfig(Section):
    """How a sample is rendered and cut: one token table serves every later stage."""

    system_prompt: str = SYSTEM_PROMPT
    """The system message before every prompt. The default is the paper's (Table 7)."""
    max_seq_len: Annotated[int, Field(ge=2)] = 8192
    """Longest sample, in tokens, prompt and completion together."""
    too_long: Literal["drop", "truncate"] = "drop"
    """What happens to a longer sample: left out, or cut at the end. Both are counted."""


class TrainConfig(Section):
    """What both training stages share."""

    EXECUTION = frozenset(
        {
            "micro_batch_tokens",
            "gradient_checkpointing",
            "loss_backend",
            "save_every_steps",
            "keep_checkpoints",
            "report_to",
        }
    )

    learning_rate: Positive = 1e-5
    """Peak learning rate of AdamW."""
    epochs: Positive = 1.0
    """Passes over the samples; fractions are allowed."""
    max_steps: Count | None = None
    """Stop after this many optimizer steps, whatever `epochs` says."""
    global_batch_size: Count = 32
    """Samples per optimizer step, over all ranks. Results do not depend on how it is cut."""
    micro_batch_tokens: Count = 8192
    """Most tokens of a forward pass on one rank. Samples are packed into it without padding, and
    none sees another; a longer sample makes a pass of its own."""
    warmup_ratio: Fraction = 0.03
    """Share of the steps in which the learning rate rises linearly."""
    min_lr_ratio: Fraction = 0.0
    """The cosine ends at this share of the peak learning rate."""
    weight_decay: NonNegative = 0.0
    """AdamW's decoupled weight decay; norms and biases are exempt."""
    beta1: Fraction = 0.9
    """AdamW's first moment decay."""
    beta2: Fraction = 0.999
    """AdamW's second moment decay."""
    eps: Positive = 1e-8
    """AdamW's epsilon."""
    max_grad_norm: NonNegative = 1.0
    """Clip the global gradient norm (both models jointly) at this value; 0 turns it off."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` is bf16 on a GPU and fp32 on a CPU. bf16 keeps fp32 master weights."""
    zero_stage: Annotated[int, Field(ge=0, le=3)] = 1
    """DeepSpeed ZeRO stage: what is sharded over ranks (1 optimizer, 2 gradients, 3 weights)."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    loss_backend: Literal["auto", "chunked", "torch", "liger", "cce"] = "auto"
    """What computes the loss. `chunked` is wmss's own op; `liger` and `cce` (Cut Cross-Entropy)
    come with the extra `gpu`; `torch` needs torch 2.13. `auto`: on a GPU `cce` or `liger` if
    installed, else `chunked`."""
    save_every_steps: Count = 200
    """Write a checkpoint after this many optimizer steps."""
    keep_checkpoints: Count = 2
    """How many checkpoints are kept while training; all are removed once the model is written."""
    keep_epochs: bool = False
    """Also keep the trained model after each epoch before the last, as `epoch-1/`, …; a run then
    evaluates each of them, for accuracy by epoch (Fig. 3)."""
    report_to: list[Literal["tensorboard", "trackio", "wandb"]] = []
    """Where the metrics of each step go beside `metrics.jsonl`. Each needs the extra of its name:
    `pip install 'wmss[tensorboard]'`. Files go to `logs/` beside the artifact."""
    seed: int = 0
    """Order of the samples, dropout."""

    @model_validator(mode="after")
    def _precision_fits(self) -> TrainConfig:
        if self.precision == "bf16" and self.zero_stage == 0:
            raise ValueError("precision bf16 needs zero_stage 1, 2 or 3 (fp32 master weights)")
        return self

    @model_validator(mode="after")
    def _epochs_are_reached(self) -> TrainConfig:
        if self.keep_epochs and self.max_steps is not None:
            raise ValueError("keep_epochs needs whole epochs; leave max_steps out")
        return self

    @property
    def epochs_kept(self) -> range:
        """The epochs whose models are kept beside the last one."""
        return range(1, math.ceil(self.epochs) if self.keep_epochs else 1)


def check_ranks(global_batch_size: int, world_size: int) -> None:
    """Check that each rank gets a sample of every step.

    Raises
    ------
    ConfigError
        If there are more ranks than samples.
    """
    if global_batch_size < world_size:
        raise ConfigError(
            f"global_batch_size {global_batch_size} is less than the {world_size} processes; "
            "change one of them"
        )


class SftConfig(TrainConfig):
    """Supervised fine-tuning: M1 = SFT(M0, D)."""


class JointConfig(TrainConfig):
    """Training of the strong model on mixed logits (Algorithm 1, phase B)."""

    EXECUTION = TrainConfig.EXECUTION | {"next_weak"}

    mix_lambda: Fraction = 0.5
    """z_mix = mix_lambda * z_strong + (1 - mix_lambda) * z_weak."""
    weak_mode: Literal["cotrain", "frozen"] = "cotrain"
    """Whether gradients reach the weak model too (the paper's text) or not (its Algorithm 1)."""
    weak_logits: Literal["model", "uniform"] = "model"
    """`uniform` is the softening control: all weak logits equal, no weak model is loaded."""
    cache_weak: bool = False
    """Compute a frozen weak model's last hidden states once and read them in every epoch, which
    then costs as much as one of `sft`. Takes 2 bytes x hidden size of disk for each completion
    token while training, and rounds the states to bf16."""
    next_weak: Literal["previous_strong", "cotrained"] = "previous_strong"
    """With several iterations: the weak model of the next one (Algorithm 1: M_{t-1})."""

    @model_validator(mode="after")
    def _strong_learns(self) -> JointConfig:
        if self.mix_lambda == 0.0:
            raise ValueError("mix_lambda 0 gives the strong model no gradient; use a value above 0")
        if self.cache_weak and (self.weak_mode, self.weak_logits) != ("frozen", "model"):
            raise ValueError("cache_weak needs weak_mode frozen and weak_logits model")
        return self


class ScoreConfig(Section):
    """Entropy of a model on every sample (Eq. 8)."""

    EXECUTION = frozenset({"shards", "max_batch_tokens"})

    shards: Count = 1
    """Parts that are scored one by one; what is done is not done again."""
    max_batch_tokens: Count = 16384
    """Most tokens of a forward pass. Samples are packed into it; a longer one passes alone."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` is bf16 on a GPU and fp32 on a CPU; the softmax is always fp32."""


class CurriculumConfig(Section):
    """Weights from how the entropy moved (Eq. 10), and the weighted sample."""

    alpha: NonNegative = 0.1
    """Weight of the weak model's entropy: samples that the weak model finds hard."""
    beta: NonNegative = 0.8
    """Weight of falling entropy, [-dH]+: samples that were learnt."""
    gamma: NonNegative = 0.1
    """Weight of rising entropy, [dH]+: samples that were forgotten."""
    normalization: Literal["paper", "per_term"] = "paper"
    """`paper`: one normalisation at the end; `per_term`: each term sums to 1 before it is mixed."""
    sampling: Literal["with_replacement", "without_replacement"] = "with_replacement"
    """How the active set is drawn; without replacement by Gumbel top-k."""
    multiplier: Positive = 1.0
    """Size of the active set, as a multiple of the number of samples."""
    seed: int = 0
    """Of the draw."""


class EvalConfig(Section):
    """Generation and grading."""

    EXECUTION = frozenset({"shards", "workers", "engine", "batch_size", "unsafe_programs"})

    shards: Count = 1
    """Parts that are answered and graded one by one; each is kept when it is done."""
    max_new_tokens: Count | None = None
    """Longest answer to any task, in tokens; one that reaches it is counted as truncated. If null
    each task has its own: 4096, and 8192 for AIME 2025 and AMC 23."""
    samples: Count = 1
    """Answers to each problem. More than one give mean@n, pass@k and maj@k."""
    temperature: NonNegative = 0.0
    """0 is greedy: the most probable token, always."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Draw only from the most probable tokens that together have this probability."""
    prompt: Literal["paper", "boxed"] = "paper"
    """`paper`: the question alone; the system prompt says what an answer looks like. `boxed`: it
    asks to put the final answer within a box, too, as Qwen's evaluation does."""
    engine: Literal["auto", "static", "continuous", "vllm", "plain"] = "auto"
    """What writes the answers. `static`: finished answers give their place to the next prompts.
    `continuous`: transformers' paged attention. `vllm` comes with the extra `vllm`. `plain`: one by
    one, with any model. `auto`: `continuous` on a GPU, else `static`."""
    batch_size: Count | None = None
    """Most answers written at a time. If null: 64 by `static`, else as many as the memory holds."""
    limit: Count | None = None
    """Take only the first rows of each file (all of them if null)."""
    system_prompt: str = SYSTEM_PROMPT
    """As in `tokenize`."""
    verify_timeout_s: Positive = 10.0
    """Time limit for grading one answer, in seconds; past it the answer counts as wrong."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` is bf16 on a GPU and fp32 on a CPU."""
    workers: Count = 2
    """Processes that grade answers."""
    unsafe_programs: bool = False
    """Run programs of models without a sandbox where none works; else that is an error."""
    seed: int = 0
    """Of the draws: each answer has its own, made from it, the task, the problem and its number."""

    @model_validator(mode="after")
    def _draws_differ(self) -> EvalConfig:
        if self.temperature == 0.0 and (self.samples > 1 or self.top_p < 1.0):
            raise ValueError("samples and top_p need a temperature above 0: greedy answers are one")
        return self

    def identity(self) -> dict[str, Any]:
        """Return what decides on the answers; engines draw differently, but are greedy alike."""
        drawn = {"engine": self.engine} if self.temperature > 0.0 else {}
        return super().identity() | drawn


class GradeConfig(Section):
    """Grading of answers that are there: what `wmss grade` takes from the section of eval."""

    EXECUTION = frozenset({"workers", "unsafe_programs"})

    unsafe_programs: bool
    """As in `eval`."""
    verify_timeout_s: Positive
    """As in `eval`."""
    workers: Count
    """As in `eval`."""


class AnalyzeConfig(Section):
    """Logit statistics (Tables 2 and 6)."""

    samples: Count = 200
    """Samples drawn for the statistics."""
    max_batch_tokens: Count = 16384
    """Most tokens of a forward pass. Samples are packed into it; a longer one passes alone."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """`auto` is bf16 on a GPU and fp32 on a CPU."""
    seed: int = 0
    """Of the draw."""


class LaunchConfig(Section):
    """How stages are started: here, or as jobs of a Slurm cluster."""

    cluster: Literal["local", "slurm"] = "local"
    """`local` runs on this machine; `slurm` submits jobs and returns."""
    processes: Count = 1
    """Processes of a training stage on this machine: one per GPU, or several CPU ranks."""
    profile: str | None = None
    """What jobs ask for: `NAME` or `NAME:VARIANT` of a profile that ships with wmss, or a file."""


class Config(Section):
    """Everything that a pipeline needs, in one file."""

    run_dir: str = "runs/wmss"
    """Where the artifacts go: a folder `STAGE-FINGERPRINT` each."""
    model: str | None = None
    """The base model M0: a Hugging Face folder, an artifact of wmss, or a hub id."""
    data: list[str] = []
    """Records in the AM-1.4M format: .jsonl, .jsonl.zst or .parquet files."""
    tasks: list[str] = []
    """Benchmarks: names such as `gsm8k`, or YAML files of your own."""
    task_data: str | None = None
    """Folder with `NAME.jsonl` for each benchmark."""
    decontaminate: list[str] = []
    """Benchmarks, as in `tasks`, that must not be trained on: curation rejects a record that holds
    13 words in a row of a question, or whose prompt is a question. The paper does not do this."""
    eval_files: dict[str, str] = {}
    """Further evaluation files by name: .jsonl with `id`, `question` and `answer`."""
    iterations: Count = 1
    """K: how often curriculum and joint training are repeated."""
    controls: list[Literal["continued_sft", "softening"]] = []
    """Arms beside the last joint training, at equal steps, to compare with."""
    seed: int = 0
    """Seed of every section that does not set its own."""
    curate: CurateConfig = CurateConfig()
    tokenize: TokenizeConfig = TokenizeConfig()
    sft: SftConfig = SftConfig()
    score_entropy: ScoreConfig = ScoreConfig()
    curriculum: CurriculumConfig = CurriculumConfig()
    joint: JointConfig = JointConfig()
    eval: EvalConfig = EvalConfig()
    analyze: AnalyzeConfig = AnalyzeConfig()
    launch: LaunchConfig = LaunchConfig()
