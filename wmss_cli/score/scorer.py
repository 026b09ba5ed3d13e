"""One pass of a model over samples: the mean entropy of each completion."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from wmss_cli.models.heads import head_of
from wmss_cli.models.packed import PackedBatch, hidden_states
from wmss_cli.score.entropy import head_entropy, mean_by_row


@torch.inference_mode()
def completion_entropy(model: PreTrainedModel, batch: PackedBatch) -> Tensor:
    """Return H(M; x) of each document, teacher-forced (Eq. 8), in nats.

    The mean over the completion's tokens of the entropy of the distribution that predicts
    each of them: the logits of position t - 1 for token t.

    Parameters
    ----------
    model : PreTrainedModel
        A model in evaluation mode, as :func:`~wmss_cli.models.forms.choose_form` left it.
    batch : PackedBatch
        A batch on the model's device; each document has at least one token to predict.

    Returns
    -------
    Tensor
        ``[documents]``, float64.
    """
    entropy = head_entropy(hidden_states(model, batch), head_of(model))
    ends = torch.tensor(batch.lengths, device=entropy.device).cumsum(0)
    document = torch.searchsorted(ends, batch.predicting, right=True)
    return mean_by_row(entropy, torch.bincount(document, minlength=len(ends)))
