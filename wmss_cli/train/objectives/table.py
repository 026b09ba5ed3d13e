"""The losses by name; each is a function of hidden states, heads, targets and a reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from wmss_cli.models.heads import Head
from wmss_cli.train.loss_backends import Backend, mixed_loss
from wmss_cli.train.objectives.chunks import TokenLoss
from wmss_cli.train.objectives.smoothing import smoothed_cross_entropy
from wmss_cli.train.objectives.undial import noisy_target_cross_entropy, undial_distillation
from wmss_cli.train.objectives.weak_logits import noise_cross_entropy, shuffled_cross_entropy

Name = Literal["mixed", "label_smoothing", "undial", "undial_kd", "shuffled", "noise"]


@dataclass(frozen=True)
class Loss:
    """What is minimised, and its parameters; by default plain cross entropy.

    Attributes
    ----------
    name : str
        A row of :data:`LOSSES`.
    mix_lambda : float
        Lambda of ``mixed``, ``shuffled`` and ``noise``; in (0, 1].
    label_smoothing, undial_beta : float
        Parameters of the losses of these names.
    seed : int
        Seed of everything random.
    """

    name: Name = "mixed"
    mix_lambda: float = 1.0
    label_smoothing: float = 0.0
    undial_beta: float = 0.0
    seed: int = 0

    @property
    def row(self) -> Row:
        """Return the function that computes it."""
        return LOSSES[self.name]


@dataclass(frozen=True)
class Inputs:
    """The inputs of a loss.

    Attributes
    ----------
    hidden, head : Tensor and Head
        Of the strong model; the hidden states are ``[tokens, hidden]``.
    targets : Tensor
        ``[tokens]``.
    other, other_head : Tensor and Head, or None
        The same for the weak model or the reference.
    keys : Tensor or None
        ``[tokens]``: keys of example and position (see :mod:`wmss_cli.train.keyed_random`).
    step : int
        Optimizer step, from 0.
    backend : str
        The backend that computes the mixed loss.
    logits_bytes : int or None
        Memory for the logits of a chunk, in bytes.
    """

    hidden: Tensor
    head: Head
    targets: Tensor
    other: Tensor | None = None
    other_head: Head | None = None
    keys: Tensor | None = None
    step: int = 0
    backend: Backend = "chunked"
    logits_bytes: int | None = None

    @property
    def beside(self) -> tuple[Tensor, Head]:
        """The other model's hidden states and head, if the loss needs them."""
        assert self.other is not None
        assert self.other_head is not None
        return self.other, self.other_head

    @property
    def needed_keys(self) -> Tensor:
        """The keys, if the loss needs them."""
        assert self.keys is not None
        return self.keys


@dataclass(frozen=True)
class Row:
    """A loss in the table.

    Attributes
    ----------
    function : callable
        Computes the loss from the inputs and the parameters.
    needs_other : bool
        Whether it needs a frozen model besides the strong one.
    other_backends : bool
        Whether the fused ops of other libraries can compute it.
    """

    function: Callable[[Inputs, Loss], TokenLoss]
    needs_other: bool = False
    other_backends: bool = False


def _mixed(x: Inputs, p: Loss) -> TokenLoss:
    beside = (x.other, x.other_head)
    return mixed_loss(x.backend, x.hidden, x.head, x.targets, *beside, p.mix_lambda, x.logits_bytes)


def _smoothed(x: Inputs, p: Loss) -> TokenLoss:
    return smoothed_cross_entropy(x.hidden, x.head, x.targets, p.label_smoothing, x.logits_bytes)


def _undial(x: Inputs, p: Loss) -> TokenLoss:
    return noisy_target_cross_entropy(
        x.hidden, x.head, x.targets, p.undial_beta, x.needed_keys, p.seed, x.step, x.logits_bytes
    )


def _undial_kd(x: Inputs, p: Loss) -> TokenLoss:
    return undial_distillation(
        x.hidden, x.head, x.targets, *x.beside, p.undial_beta, x.logits_bytes
    )


def _shuffled(x: Inputs, p: Loss) -> TokenLoss:
    return shuffled_cross_entropy(
        x.hidden, x.head, x.targets, *x.beside, p.mix_lambda, x.needed_keys, p.seed, x.logits_bytes
    )


def _noise(x: Inputs, p: Loss) -> TokenLoss:
    return noise_cross_entropy(
        x.hidden, x.head, x.targets, *x.beside, p.mix_lambda, x.needed_keys, p.seed, x.logits_bytes
    )


LOSSES: Mapping[Name, Row] = {
    "mixed": Row(_mixed, other_backends=True),
    "label_smoothing": Row(_smoothed),
    "undial": Row(_undial),
    "undial_kd": Row(_undial_kd, needs_other=True),
    "shuffled": Row(_shuffled, needs_other=True),
    "noise": Row(_noise, needs_other=True),
}

CROSS_ENTROPY = Loss()
