"""One pass of a model over samples: the mean entropy of each completion."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from wmss_cli.core.schema import IGNORE_INDEX
from wmss_cli.models.causal import completion_logits
from wmss_cli.score.entropy import mean_by_row, token_entropy

# The entropy needs several fp32 copies of its logits; of all at once they would not fit.
_TOKENS_AT_ONCE = 1024


@torch.inference_mode()
def completion_entropy(
    model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, labels: Tensor
) -> Tensor:
    """Return H(M; x) of each row, teacher-forced (Eq. 8), in nats.

    The mean over the completion's tokens of the entropy of the distribution that predicts
    each of them: the logits of position t - 1 for token t.

    Parameters
    ----------
    model : PreTrainedModel
        In evaluation mode.
    input_ids, attention_mask, labels : Tensor
        ``[batch, length]``, each row with at least one label.

    Returns
    -------
    Tensor
        ``[batch]``, float64.
    """
    logits, _ = completion_logits(model, input_ids, attention_mask, labels)
    per_row = (labels[:, 1:] != IGNORE_INDEX).sum(dim=1)
    entropy = torch.cat([token_entropy(chunk) for chunk in logits.split(_TOKENS_AT_ONCE)])
    return mean_by_row(entropy, per_row)
