"""The plan of ``wmss demo``: generate data, pretrain a small base model, then the pipeline."""

from __future__ import annotations

from pathlib import Path

from wmss_cli.core.config import Config, Section, SftConfig, TokenizeConfig
from wmss_cli.core.section import Count, Fraction
from wmss_cli.stages.plan import Output, Plan


class DemoDataConfig(Section):
    """How much is generated, and how large the model is."""

    pretrain_samples: Count = 6000
    """Records to pretrain the base model on."""
    train_samples: Count = 3400
    """Records for the method, including the faulty ones."""
    test_problems: Count = 500
    """Problems to be tested on."""
    wrong_fraction: Fraction = 0.06
    """Share of the training records that curation should reject."""
    hidden_size: Count = 96
    """Width of the model."""
    intermediate_size: Count = 288
    """Width of its feed-forward layers."""
    layers: Count = 3
    """Number of its layers."""
    heads: Count = 3
    """Attention heads; as many keys and values."""
    head_dim: Count = 32
    """Width of a head; even, for the rotary embedding."""
    seed: int = 0
    """Seed of the problems and of the weights."""


PRETRAIN = SftConfig(
    learning_rate=3e-3,
    max_steps=480,
    epochs=100.0,
    global_batch_size=64,
    warmup_ratio=0.05,
    weight_decay=0.01,
    beta2=0.95,
    zero_stage=0,
    precision="fp32",
    save_every_steps=200,
)
"""How the base model is made; not part of the method."""


def plan_base(config: Config) -> tuple[Plan, Output, Output]:
    """Plan the stages that make the data and the base model.

    Returns
    -------
    plan : Plan
        Its steps.
    data : Output
        The ``demo_data`` artifact: ``train.jsonl`` and ``test.jsonl``.
    base : Output
        The base model M0.
    """
    plan = Plan(Path(config.run_dir))
    data = plan.add("data", "demo_data", DemoDataConfig(seed=config.seed), {})
    inputs = {"examples": data, "model": data.part("init")}
    # The model is built for 512 tokens.
    tokenize = TokenizeConfig(system_prompt="", max_seq_len=512)
    tokens = plan.add("base-tokens", "tokenize", tokenize, inputs)
    pretrain = PRETRAIN.model_copy(update={"seed": config.seed})
    inputs = {"strong": data.part("init"), "tokens": tokens}
    return plan, data, plan.add("base", "sft", pretrain, inputs).part("model")


def demo_config(config: Config, data: Output, base: Output) -> Config:
    """Point the demo's configuration at what :func:`plan_base` made."""
    return config.model_copy(
        update={
            "model": base.path,
            "data": [f"{data.path}/train.jsonl"],
            "eval_files": {"word-problems": f"{data.path}/test.jsonl"},
        }
    )
