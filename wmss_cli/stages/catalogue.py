"""The catalogue of arms: the ways from a base model M0 to a trained one that wmss knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Objective:
    """What an arm minimises, and the stage and options that do it.

    Attributes
    ----------
    stage : str
        The stage that does it; empty if nothing is done.
    words : str
        The same in words.
    options : mapping
        Options of the stage by name; they override the configuration's.
    weak : str
        Where the weak logits of `joint_train` come from: the checkpoint before the strong model
        (`previous`), a copy of the strong model (`self`), or no second model (`none`).
    """

    stage: Literal["sft", "joint_train", "extrapolate", ""]
    words: str
    options: Mapping[str, Any] = field(default_factory=dict)
    weak: Literal["previous", "self", "none"] = "none"


_NO_WEAK_IS_TRAINED = {"cache_weak": False, "next_weak": "previous_strong"}
_PERTURBED = {"weak_mode": "frozen", **_NO_WEAK_IS_TRAINED}

OBJECTIVES: dict[str, Objective] = {
    "none": Objective("", "none"),
    "cross_entropy": Objective("sft", "cross entropy"),
    "neftune": Objective("sft", "cross entropy, noisy embeddings", {"neftune_alpha": 5.0}),
    "undial": Objective("sft", "cross entropy, noisy target logit", {"objective": "undial"}),
    "undial_kd": Objective("sft", "distillation, lowered target", {"objective": "undial_kd"}),
    "label_smoothing": Objective("sft", "smoothed labels", {"objective": "label_smoothing"}),
    "mixed": Objective("joint_train", "mixed logits", weak="previous"),
    "mixed_frozen": Objective(
        "joint_train",
        "mixed logits, weak frozen",
        {"weak_mode": "frozen", "next_weak": "previous_strong"},
        "previous",
    ),
    "mixed_self": Objective("joint_train", "mixed with a copy of itself", weak="self"),
    "mixed_uniform": Objective(
        "joint_train",
        "mixed with equal logits",
        {"weak_logits": "uniform", **_NO_WEAK_IS_TRAINED},
    ),
    "mixed_shuffled": Objective(
        "joint_train",
        "mixed with shuffled logits",
        {"weak_logits": "shuffled", **_PERTURBED},
        "previous",
    ),
    "mixed_noise": Objective(
        "joint_train", "mixed with noise", {"weak_logits": "noise", **_PERTURBED}, "previous"
    ),
    "extrapolate": Objective("extrapolate", "none (weights extrapolated)"),
}

Samples = Literal["all", "active", "random", "-"]
Steps = Literal["none", "first", "both", "joint", "flops"]

STEPS: dict[Steps, str] = {
    "none": "0",
    "first": "phase 1",
    "both": "phases 1+2",
    "joint": "phase 2",
    "flops": "equal FLOPs",
}
"""How long an arm trains, in words."""


@dataclass(frozen=True)
class Arm:
    """A way from M0 to one model.

    Attributes
    ----------
    name : str
        Its name in the configuration.
    start : str
        `base` (M0), `sft` (M1, the first phase), or the name of another arm.
    samples : str
        `all`, `active` (drawn by the curriculum), or `random`: as many of each multiplicity.
    objective : str
        A row of :data:`OBJECTIVES`.
    steps : str
        A row of :data:`STEPS`.
    purpose : str
        What it is compared for.
    like : str or None
        The arm that it was copied from.
    overrides : mapping
        Dotted keys of the configuration, and their values in this arm.
    """

    name: str
    start: str
    samples: Samples
    objective: str
    steps: Steps
    purpose: str
    like: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rule(self) -> Objective:
        """What it minimises."""
        return OBJECTIVES[self.objective]


_ROWS = (
    Arm("base", "base", "-", "none", "none", "M0 as it is"),
    Arm("m1", "base", "all", "cross_entropy", "first", "M1, where second phases start"),
    Arm("sft", "base", "all", "cross_entropy", "both", "cross entropy (Table 1)"),
    Arm("neftune", "base", "all", "neftune", "both", "noisy embeddings (Table 1)"),
    Arm("undial", "base", "all", "undial", "both", "noisy target logit (Table 1)"),
    Arm("undial_kd", "sft", "all", "undial_kd", "joint", "UNDIAL as its authors do it"),
    Arm("wmss", "sft", "active", "mixed", "joint", "mixed logits: the method"),
    Arm("wmss_frozen", "sft", "active", "mixed_frozen", "joint", "mixed, weak frozen: Algorithm 1"),
    Arm("ceda", "sft", "active", "cross_entropy", "joint", "cross entropy: samples alone"),
    Arm("jtws", "sft", "all", "mixed", "joint", "mixed logits alone (Table 3)"),
    Arm("continued_sft", "sft", "all", "cross_entropy", "joint", "cross entropy at equal steps"),
    Arm(
        "continued_sft_flops", "sft", "all", "cross_entropy", "flops", "cross entropy at equal cost"
    ),
    Arm("random_subset", "sft", "random", "cross_entropy", "joint", "choice, or repetition?"),
    Arm("softening", "sft", "active", "mixed_uniform", "joint", "equal weak logits: temperature?"),
    Arm("shuffled", "sft", "active", "mixed_shuffled", "joint", "shuffled logits: knowledge?"),
    Arm("noise", "sft", "active", "mixed_noise", "joint", "noise for logits: knowledge?"),
    Arm("self_weak", "sft", "active", "mixed_self", "joint", "a copy of M1 as weak: weakness?"),
    Arm("label_smoothing", "sft", "all", "label_smoothing", "joint", "a classical softener"),
    Arm("extrapolated", "sft", "-", "extrapolate", "none", "M1 + a(M1 - M0): costs nothing"),
)

CATALOGUE: dict[str, Arm] = {arm.name: arm for arm in _ROWS}
"""All arms that wmss knows, by name (``wmss arms``)."""
