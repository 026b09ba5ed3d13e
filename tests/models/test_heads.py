"""Logits in blocks are the plain product."""

from __future__ import annotations

import pytest
import torch

from wmss_cli.models.heads import write_logits


@pytest.mark.parametrize("vocab_size", [7, 1024, 2500])
def test_blocks_give_the_plain_product(vocab_size: int) -> None:
    hidden, head = torch.randn(5, 16), torch.randn(vocab_size, 16)
    out = torch.full((5, vocab_size), torch.nan)
    assert write_logits(out, hidden, head) is out
    torch.testing.assert_close(out, hidden @ head.T)


def test_what_exists_is_kept_in_part() -> None:
    hidden, head, before = torch.randn(3, 8), torch.randn(1500, 8), torch.randn(3, 1500)
    found = write_logits(before.clone(), hidden, head, keep=0.25, share=0.75)
    torch.testing.assert_close(found, 0.25 * before + 0.75 * hidden @ head.T)
