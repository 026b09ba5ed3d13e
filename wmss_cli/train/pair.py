"""The weak and the strong model in one module, so that one DeepSpeed engine trains both.

The loss is computed inside ``forward``, so that ZeRO-3's gathers and the division by the
accumulation steps reach every weight, including those of the heads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.heads import Head, head_of
from wmss_cli.models.packed import PackedBatch, hidden_states
from wmss_cli.train.loss_backends import Backend, choose
from wmss_cli.train.neftune import noisy_embeddings
from wmss_cli.train.objectives.table import CROSS_ENTROPY, Inputs, Loss


class WeakStrongPair(nn.Module):
    """A strong model together with a weak one, with uniform logits, or alone.

    Parameters
    ----------
    strong : PreTrainedModel
        The model that is kept; as returned by :func:`~wmss_cli.models.causal.load_packed`.
    weak : PreTrainedModel or None
        The model whose logits are mixed in, or the objective's reference.
    mix_lambda : float
        In (0, 1]; 1 is plain supervised fine-tuning.
    weak_mode : {"cotrain", "frozen"}
        Whether gradients reach the weak model. A frozen one runs without dropout.
    weak_head : Head or None
        Instead of `weak`, if its hidden states are passed in.
    loss_backend : {"auto", "chunked", "torch", "liger", "cce"}
        What computes the loss (see :mod:`wmss_cli.train.loss_backends`).
    loss : Loss
        What is minimised; its `mix_lambda` is replaced by the one given here.
    neftune_alpha : float
        Noise on the strong model's embeddings (see :mod:`wmss_cli.train.neftune`); 0 means none.

    Raises
    ------
    ConfigError
        If the backend is not installed, or does not compute the loss.

    Notes
    -----
    Without a weak model and with ``mix_lambda < 1`` the weak logits are all equal. They are zero,
    since the loss does not change under z_weak + c·1, and lambda acts as a temperature.
    """

    def __init__(
        self,
        strong: PreTrainedModel,
        weak: PreTrainedModel | None = None,
        mix_lambda: float = 1.0,
        weak_mode: Literal["cotrain", "frozen"] = "cotrain",
        loss_backend: Backend = "auto",
        weak_head: Head | None = None,
        loss: Loss = CROSS_ENTROPY,
        neftune_alpha: float = 0.0,
    ) -> None:
        super().__init__()
        assert 0.0 < mix_lambda <= 1.0, mix_lambda
        assert weak is None or weak_head is None
        self.strong = strong
        self.weak = weak
        self.loss = replace(loss, mix_lambda=mix_lambda)
        self.neftune_alpha = neftune_alpha
        self.weak_frozen = weak_mode == "frozen"
        self.loss_backend = choose(loss_backend)
        row = self.loss.row
        if not row.other_backends:
            if loss_backend not in ("auto", "chunked"):
                raise ConfigError(
                    f"loss_backend {loss_backend} does not compute {loss.name}; use auto or chunked"
                )
            self.loss_backend = "chunked"
        assert not row.needs_other or (weak is not None and self.weak_frozen)
        # Never trained: not part of checkpoints, and whole on each rank at any ZeRO level.
        self._weak_head = weak_head
        self._weak_weight: Tensor | None
        self._weak_bias: Tensor | None
        for name in ("weight", "bias"):
            own = None if weak_head is None else getattr(weak_head, name)
            self.register_buffer(f"_weak_{name}", own, persistent=False)
        if weak is not None and self.weak_frozen:
            weak.requires_grad_(False)
            weak.eval()

    @property
    def weak_head(self) -> Head | None:
        """The head for given hidden states, on the current device."""
        if self._weak_head is None or self._weak_weight is None:
            return None
        return replace(self._weak_head, weight=self._weak_weight, bias=self._weak_bias)

    def train(self, mode: bool = True) -> WeakStrongPair:
        """Set the training mode; a frozen weak model stays in evaluation mode."""
        super().train(mode)
        if self.weak is not None and self.weak_frozen:
            self.weak.eval()
        return self

    def forward(
        self,
        batch: PackedBatch,
        denominator: float,
        weak_hidden: Tensor | None = None,
        step: int = 0,
        look: Callable[[Tensor, Head, Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of a micro-batch and what is logged about it.

        Parameters
        ----------
        batch : PackedBatch
            A batch on the models' device.
        denominator : float
            Number of the global batch's completion tokens divided by the world size: DeepSpeed
            averages over ranks, so the sum of all losses is the mean over tokens.
        weak_hidden : Tensor or None
            ``[completion tokens, hidden]``, for `weak_head`.
        step : int
            Optimizer step, from 0, for noise that is new in each step.
        look : callable, optional
            Called with the strong model's hidden states, its head and the targets. Then there is no
            loss, and its result is returned as `sums`.

        Returns
        -------
        loss : Tensor
            Scalar: the sum over completion tokens divided by `denominator`.
        sums : Tensor
            ``[2]``, without gradient: the sums of the loss and of the strong model's own loss
            over the completion tokens, in nats.
        """
        if look is not None:
            hidden = hidden_states(self.strong, batch)
            return hidden.new_zeros(()), look(hidden, head_of(self.strong), batch.targets)
        with noisy_embeddings(self.strong, batch, self.neftune_alpha, self.loss.seed, step):
            strong = hidden_states(self.strong, batch)
        weak = weak_head = None
        if self.weak is not None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.weak_frozen):
                weak = hidden_states(self.weak, batch)
            weak_head = head_of(self.weak)
        elif weak_hidden is not None:
            weak_head = self.weak_head
            assert weak_head is not None
            weak = weak_hidden.to(weak_head.weight.dtype)
        inputs = Inputs(
            strong,
            head_of(self.strong),
            batch.targets,
            weak,
            weak_head,
            None if batch.keys is None else batch.target_keys,
            step,
            self.loss_backend,
        )
        loss = self.loss.row.function(inputs, self.loss)
        sums = torch.stack([loss.per_token.double().sum(), loss.own_per_token.double().sum()])
        return loss.total / denominator, sums
