"""Entropies of a weak and a strong model (Eq. 8), curriculum weights (Eq. 10), and a draw."""

import numpy as np
import torch

from wmss_cli.core.config import CurriculumConfig
from wmss_cli.models.heads import Head
from wmss_cli.score.curriculum import draw, weigh
from wmss_cli.score.entropy import head_entropy, mean_by_row

torch.manual_seed(0)
VOCAB = 50
tokens_per_sample = torch.tensor([3, 5, 2, 4])
logits = torch.randn(int(tokens_per_sample.sum()), VOCAB)

# The larger the logits, the lower the entropy: the strong model is surer of all samples
# but the last one, which it has forgotten.
sharpness = torch.tensor([3.0, 2.0, 1.1, 0.5]).repeat_interleave(tokens_per_sample)
head = Head(torch.eye(VOCAB))
weak = mean_by_row(head_entropy(logits, head), tokens_per_sample).numpy()
strong = mean_by_row(head_entropy(logits * sharpness[:, None], head), tokens_per_sample).numpy()

config = CurriculumConfig(alpha=0.1, beta=0.8, gamma=0.1, multiplier=5, seed=0)
weights = weigh(weak, strong, config)
counts = draw(weights.probability, config)

print("sample  H weak  H strong  change  probability  drawn")
for row, (before, after, p, count) in enumerate(
    zip(weak, strong, weights.probability, counts, strict=True)
):
    print(f"{row:6}  {before:6.3f}  {after:8.3f}  {after - before:+6.3f}  {p:11.3f}  {count:5}")
print("shares ", {term: round(share, 3) for term, share in weights.shares.items()})
print(f"effective sample size {weights.effective_sample_size:.2f} of {np.size(weak)}")
