"""The mixed loss on toy logits, and how it divides the gradient between the two models."""

import torch

from wmss_cli.models.heads import Head
from wmss_cli.train.objectives.mixed import mixed_cross_entropy

torch.manual_seed(0)
TOKENS, VOCAB, MIX_LAMBDA = 4, 10, 0.5
targets = torch.randint(VOCAB, (TOKENS,))

# wmss never holds the logits of a whole batch: a loss takes hidden states and a head.
# With the identity as head, the hidden states are the logits.
head = Head(torch.eye(VOCAB))
strong = torch.randn(TOKENS, VOCAB, requires_grad=True)
weak = torch.randn(TOKENS, VOCAB, requires_grad=True)

loss = mixed_cross_entropy(strong, head, targets, weak, head, MIX_LAMBDA)
loss.total.backward()

mixed = MIX_LAMBDA * strong + (1 - MIX_LAMBDA) * weak
expected = torch.nn.functional.cross_entropy(mixed, targets, reduction="sum")
print(f"mixed loss       {loss.total.item() / TOKENS:.4f} nats per token")
print(f"plain torch      {expected.item() / TOKENS:.4f} nats per token")
print(f"strong model's   {loss.own_per_token.mean().item():.4f} nats per token")

# dL/dz_strong = lambda * (p_mix - onehot), dL/dz_weak = (1 - lambda) * (p_mix - onehot).
p_mix = mixed.detach().softmax(dim=-1)
error = p_mix - torch.nn.functional.one_hot(targets, VOCAB)
print("gradient strong ", torch.allclose(strong.grad, MIX_LAMBDA * error, atol=1e-6))
print("gradient weak   ", torch.allclose(weak.grad, (1 - MIX_LAMBDA) * error, atol=1e-6))
