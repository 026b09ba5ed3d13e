"""The weak and the strong model in one module, so that one DeepSpeed engine trains both.

The loss is computed inside ``forward``: then ZeRO-3's gathers and the division by the
accumulation steps reach every weight, the heads' included.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from wmss_cli.models.causal import completion_logits
from wmss_cli.train.losses import cross_entropy_sum, mix_logits


class WeakStrongPair(nn.Module):
    """A strong model, and beside it a weak one, uniform logits, or nothing.

    Parameters
    ----------
    strong : PreTrainedModel
        The model that is kept.
    weak : PreTrainedModel or None
        The model whose logits are mixed in.
    mix_lambda : float
        In (0, 1]; 1 is plain supervised fine-tuning.
    weak_mode : {"cotrain", "frozen"}
        Whether gradients reach the weak model. A frozen one runs without dropout.

    Notes
    -----
    Without a weak model and with ``mix_lambda < 1`` the weak logits are all equal: the loss
    does not change under z_weak + c·1, so they are zero, and lambda acts as a temperature.
    """

    def __init__(
        self,
        strong: PreTrainedModel,
        weak: PreTrainedModel | None = None,
        mix_lambda: float = 1.0,
        weak_mode: Literal["cotrain", "frozen"] = "cotrain",
    ) -> None:
        super().__init__()
        assert 0.0 < mix_lambda <= 1.0, mix_lambda
        self.strong = strong
        self.weak = weak
        self.mix_lambda = mix_lambda
        self.weak_frozen = weak_mode == "frozen"
        if weak is not None and self.weak_frozen:
            weak.requires_grad_(False)
            weak.eval()

    def train(self, mode: bool = True) -> WeakStrongPair:
        """Set the training mode; a frozen weak model stays in evaluation mode."""
        super().train(mode)
        if self.weak is not None and self.weak_frozen:
            self.weak.eval()
        return self

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, denominator: float
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of a micro-batch and what is logged of it.

        Parameters
        ----------
        input_ids, attention_mask, labels : Tensor
            ``[batch, length]``.
        denominator : float
            The global batch's completion tokens / (world size * accumulation steps): DeepSpeed
            averages over both, so that the sum of all losses is the mean over tokens.

        Returns
        -------
        loss : Tensor
            Scalar: the sum over completion tokens divided by `denominator`.
        sums : Tensor
            ``[2]``, without gradient: the sums of the loss and of the strong model's own loss
            over the completion tokens, in nats.
        """
        z_strong, targets = completion_logits(self.strong, input_ids, attention_mask, labels)
        if self.weak is not None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.weak_frozen):
                z_weak, _ = completion_logits(self.weak, input_ids, attention_mask, labels)
            z_mix = mix_logits(z_strong, z_weak, self.mix_lambda)
        else:
            z_mix = z_strong if self.mix_lambda == 1.0 else self.mix_lambda * z_strong
        total = cross_entropy_sum(z_mix, targets)
        with torch.no_grad():
            own = total if z_mix is z_strong else _own_loss(z_strong, targets)
        return total / denominator, torch.stack([total.detach().double(), own.detach().double()])


def _own_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the sum of a model's own losses, a part at a time: it is only logged."""
    parts = zip(logits.split(1024), targets.split(1024), strict=True)
    return torch.stack([cross_entropy_sum(z, y) for z, y in parts]).sum()
