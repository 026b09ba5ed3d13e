"""The options of both training stages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from wmss_cli.core.deepspeed_section import check_deepspeed
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.recomputation import Recomputation
from wmss_cli.core.section import Count, Fraction, NonNegative, Positive, Section, Seed

MICRO_BATCH_TOKENS = 8192
"""Used if nothing says how many fit."""


class TrainConfig(Section):
    """What both training stages share."""

    EXECUTION = frozenset(
        {
            "micro_batch_tokens",
            "gradient_checkpointing",
            "loss_backend",
            "kernels",
            "compile",
            "save_every_min",
            "save_every_steps",
            "keep_checkpoints",
            "hang_limit_min",
            "report_to",
            "logits_every_steps",
            "deepspeed",
        }
    )

    learning_rate: Positive = 1e-5
    """Peak learning rate of AdamW."""
    epochs: Positive = 1.0
    """Passes over the samples; fractions are allowed."""
    max_steps: Count | None = None
    """Stop after this many optimizer steps, whatever `epochs` says."""
    global_batch_size: Count = 32
    """Samples per optimizer step, over all ranks. Results do not depend on how it is split."""
    micro_batch_tokens: Count | Literal["auto"] = MICRO_BATCH_TOKENS
    """Most tokens of a forward pass on one rank. Samples are packed into it without padding, and
    none sees another; a longer sample has a pass of its own. `auto` takes as many as fit by the
    arithmetic of `wmss plan` on the GPUs that the job finds, up to 65,536, tries the longest pass
    before the first step, and halves it once if memory does not suffice; on a CPU 8192."""
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
    gradient_checkpointing: Recomputation = "none"
    """Which blocks are recomputed in the backward pass instead of keeping their activations: `full`
    is all, for a third more time; `every-2nd`, `every-3rd` and so on are fewer. `auto` takes the
    fewest with which a pass fits by the arithmetic of `wmss plan`, on a CPU none. `true` and
    `false` mean `full` and `none`."""
    deepspeed: dict[str, Any] = {}
    """Further keys of DeepSpeed's own configuration. `{zero_optimization: {offload_optimizer:
    {device: cpu}}}` keeps the optimizer in host memory. Keys that affect the result are options of
    wmss, and are refused here."""
    loss_backend: Literal["auto", "chunked", "torch", "liger", "cce"] = "auto"
    """What computes the loss. `auto` is `chunked`, wmss's own op: it does 3 products, `liger` and
    `cce` (Cut Cross-Entropy, of the extra `gpu`) 4.5. `torch` needs torch 2.13."""
    kernels: Literal["auto", "liger", "none"] = "auto"
    """What computes RMSNorm, rotary embeddings and SwiGLU on a GPU. `liger`: fused kernels of the
    extra `gpu`, checked on the model before training, or an error. `auto`: the same if Liger is
    installed, supports the model and gives the right values, otherwise the model's own layers; the
    log says which."""
    compile: Literal["none", "blocks"] = "none"
    """`blocks`: torch.compile fuses what `kernels` does, and more, in each block of the models,
    instead of Liger. It takes a minute or two at the start, and needs a C++ compiler on a CPU; not
    for zero_stage 3."""
    save_every_min: Positive | None = 30.0
    """Write a checkpoint at the first step that ends this many minutes after the last one was
    begun. Training waits only until the states are copied to host memory, of which that takes as
    much as the checkpoint takes of the disk. If null, only `save_every_steps` counts."""
    save_every_steps: Count | None = None
    """Also write a checkpoint after this many optimizer steps. If null, only `save_every_min`
    counts."""
    keep_checkpoints: Count = 2
    """How many checkpoints are kept while training; all are removed once the model is written."""
    hang_limit_min: Positive = 30.0
    """If a process does not finish a micro-batch, or another short piece of work, within this many
    minutes, training ends with an error that names it. On Slurm the job is then requeued. Loading,
    saving and exporting may take longer."""
    keep_epochs: bool = False
    """Also keep the trained model after each epoch before the last, as `epoch-1/`, …; a run then
    evaluates each of them, for accuracy by epoch (Fig. 3)."""
    report_to: list[Literal["tensorboard", "trackio", "wandb"]] = []
    """Where the metrics of each step go in addition to `metrics.jsonl`. Each needs the extra of its
    name: `pip install 'wmss[tensorboard]'`. Files go to `logs/` next to the artifact."""
    logits_every_steps: Count | None = None
    """Write the mean statistics of the strong model's logits on 200 fixed samples to `logits.jsonl`
    every this many steps, before the first and after the last (Fig. 4 as a curve). The training
    stays the same to the bit. Never if null."""
    seed: Seed = 0
    """Seed of the order of the samples, and of dropout."""

    @model_validator(mode="after")
    def _precision_fits(self) -> TrainConfig:
        if self.precision == "bf16" and self.zero_stage == 0:
            raise ValueError("precision bf16 needs zero_stage 1, 2 or 3 (fp32 master weights)")
        return self

    @model_validator(mode="after")
    def _deepspeed_takes_it(self) -> TrainConfig:
        check_deepspeed(self.deepspeed, self.zero_stage)
        return self

    @model_validator(mode="after")
    def _compile_fits(self) -> TrainConfig:
        if self.compile == "blocks" and self.zero_stage == 3:
            raise ValueError(
                "compile blocks needs zero_stage 0, 1 or 2: at 3 weights are gathered by hooks "
                "inside the blocks"
            )
        if self.compile == "blocks" and self.kernels == "liger":
            raise ValueError("compile blocks replaces kernels liger; set one of them")
        return self

    @model_validator(mode="after")
    def _something_is_saved(self) -> TrainConfig:
        if self.save_every_min is None and self.save_every_steps is None:
            raise ValueError(
                "save_every_min and save_every_steps are both null: a training that dies "
                "would start from the beginning; set one of them"
            )
        return self

    @model_validator(mode="after")
    def _epochs_are_reached(self) -> TrainConfig:
        if self.keep_epochs and self.max_steps is not None:
            raise ValueError("keep_epochs needs whole epochs; leave max_steps out")
        return self

    @property
    def pass_tokens(self) -> int:
        """Most tokens of a pass; while `auto` is undecided, the default."""
        auto = self.micro_batch_tokens == "auto"
        return MICRO_BATCH_TOKENS if auto else int(self.micro_batch_tokens)

    @property
    def second_model(self) -> Literal["cotrain", "frozen"] | None:
        """How a second model takes part; None if there is none."""
        return None

    @property
    def epochs_kept(self) -> range:
        """The epochs whose models are kept in addition to the last one."""
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


def _check_backend(loss_backend: str, wanted: str) -> None:
    """Refuse another library's op for what only wmss's own computes."""
    if loss_backend not in ("auto", "chunked"):
        raise ValueError(f"loss_backend {loss_backend} does not compute {wanted}; use auto")


class SftConfig(TrainConfig):
    """Supervised fine-tuning: M1 = SFT(M0, D)."""

    NEUTRAL: ClassVar[Mapping[str, Any]] = {
        "objective": "cross_entropy",
        "neftune_alpha": 0.0,
        "match_flops": "none",
    }

    objective: Literal["cross_entropy", "label_smoothing", "undial", "undial_kd"] = "cross_entropy"
    """What is minimised. `undial` subtracts a one-hot scaled by Gaussian noise from the target's
    logit, as the paper describes its baseline; `undial_kd` is the loss that UNDIAL's authors
    published: cross entropy to softmax(z_ref - beta * onehot), where z_ref are the logits of the
    model that it starts from."""
    label_smoothing: Fraction = 0.1
    """For `label_smoothing`: the share of the target distribution that is uniform."""
    undial_beta: NonNegative = 1.0
    """For `undial`, the scale of the noise; for `undial_kd`, what is subtracted."""
    neftune_alpha: NonNegative = 0.0
    """Noise on the embeddings, uniform in ±alpha/√(L·d), as NEFTune adds it; 0 is none. L is the
    length of a document, whatever it is packed with."""
    match_flops: Literal["none", "cotrain", "frozen"] = "none"
    """Train for as many steps as the FLOPs of a joint training buy, with a weak model of this mode;
    `epochs` is then that of the joint training. Arms set it."""

    @model_validator(mode="after")
    def _backend_computes_it(self) -> SftConfig:
        if self.objective != "cross_entropy":
            _check_backend(self.loss_backend, f"objective {self.objective}")
        return self

    @property
    def second_model(self) -> Literal["cotrain", "frozen"] | None:
        """How the reference, the model that it starts from, takes part; None if there is none."""
        return "frozen" if self.objective == "undial_kd" else None

    def unused(self) -> frozenset[str]:
        """Return the parameters of other objectives."""
        wanted = {
            "label_smoothing": ("label_smoothing",),
            "undial_beta": ("undial", "undial_kd"),
        }
        return frozenset(name for name, users in wanted.items() if self.objective not in users)


class JointConfig(TrainConfig):
    """Training of the strong model on mixed logits (Algorithm 1, phase B)."""

    EXECUTION = TrainConfig.EXECUTION | {"next_weak"}

    mix_lambda: Fraction = 0.5
    """z_mix = mix_lambda * z_strong + (1 - mix_lambda) * z_weak."""
    weak_mode: Literal["cotrain", "frozen"] = "cotrain"
    """Whether gradients reach the weak model too (the paper's text) or not (its Algorithm 1)."""
    weak_logits: Literal["model", "uniform", "shuffled", "noise"] = "model"
    """What is mixed in. `uniform`: all weak logits are equal, and no weak model is loaded.
    `shuffled`: the weak model's logits, permuted over the vocabulary at each token. `noise`: normal
    noise with the mean and the variance of the weak model's at each token. Both need `weak_mode`
    frozen."""
    cache_weak: bool = False
    """Compute a frozen weak model's last hidden states once and read them in every epoch, which
    then costs as much as one of `sft`. Takes 2 bytes x hidden size of disk for each completion
    token while training: 6.8 TB for Qwen3-8B and 215,000 samples with 3,840 of them each. The
    states are rounded to bf16."""
    next_weak: Literal["previous_strong", "cotrained"] = "previous_strong"
    """With several iterations: which model is the weak one of the next iteration (Algorithm 1:
    M_{t-1})."""

    @model_validator(mode="after")
    def _strong_learns(self) -> JointConfig:
        if self.mix_lambda == 0.0:
            raise ValueError("mix_lambda 0 gives the strong model no gradient; use a value above 0")
        if self.cache_weak and (self.weak_mode, self.weak_logits) != ("frozen", "model"):
            raise ValueError("cache_weak needs weak_mode frozen and weak_logits model")
        if self.weak_logits in ("shuffled", "noise") and self.weak_mode != "frozen":
            raise ValueError(f"weak_logits {self.weak_logits} needs weak_mode frozen")
        if self.weak_logits in ("shuffled", "noise"):
            _check_backend(self.loss_backend, f"weak_logits {self.weak_logits}")
        return self

    @property
    def second_model(self) -> Literal["cotrain", "frozen"] | None:
        """How the weak model takes part; None if there is none."""
        return None if self.weak_logits == "uniform" else self.weak_mode

    def identity(self) -> dict[str, Any]:
        """Return what decides the result; if there is no weak model, it has no mode."""
        no_weak = {"weak_mode": "cotrain"} if self.weak_logits == "uniform" else {}
        return super().identity() | no_weak
