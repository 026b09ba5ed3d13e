"""Packed attention on a GPU in bf16: flash attention over all documents equals each by itself."""

from __future__ import annotations

import pytest
import torch
from families import PACKED, VOCAB, tiny
from torch.nn import functional as F

from wmss_cli.models import attention
from wmss_cli.models.causal import device
from wmss_cli.models.forms import choose_form
from wmss_cli.models.packed import PackedBatch, hidden_states

LENGTHS = (700, 1, 64, 33)


@pytest.mark.parametrize("window", [None, 50])
@pytest.mark.parametrize(("heads", "kv_heads", "size"), [(8, 8, 64), (16, 4, 128), (4, 1, 256)])
def test_documents_at_once_equal_documents_alone(
    heads: int, kv_heads: int, size: int, window: int | None, rehearsal: bool
) -> None:
    torch.manual_seed(0)
    tokens = sum(LENGTHS)
    query, key, value = (
        torch.randn(1, n, tokens, size, device=device(), dtype=torch.bfloat16).requires_grad_()
        for n in (heads, kv_heads, kv_heads)
    )
    ends = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0)], dtype=torch.int32, device=device())
    assert rehearsal or attention._flash_does(query, value), "flash attention is not used"
    found, _ = attention._packed_attention(
        torch.nn.Identity(),
        query,
        key,
        value,
        None,
        sliding_window=window,
        document_lengths=list(LENGTHS),
        document_ends=ends,
    )
    expected = []
    wide = [tensor.detach().float().requires_grad_() for tensor in (query, key, value)]
    for q, k, v in zip(*(tensor.split(LENGTHS, dim=2) for tensor in wide), strict=True):
        mask = attention._band(q.shape[2], window or q.shape[2], device())
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        expected.append(out.transpose(1, 2))
    wanted = torch.cat(expected, dim=1)
    torch.testing.assert_close(found.float(), wanted, rtol=2e-2, atol=2e-2)
    probe = torch.randn_like(wanted)
    (found.float() * probe).sum().backward()
    (wanted * probe).sum().backward()
    for narrow, exact in zip((query, key, value), wide, strict=True):
        assert narrow.grad is not None
        assert exact.grad is not None
        scale = float(exact.grad.abs().max())
        torch.testing.assert_close(narrow.grad.float(), exact.grad, rtol=5e-2, atol=2e-2 * scale)


@pytest.mark.parametrize("name", PACKED)
def test_families_in_bf16_are_near_fp32(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = (40, 1, 23)
    ids = torch.randint(3, VOCAB, (sum(lengths),), generator=generator)
    positions = torch.cat([torch.arange(length) for length in lengths])
    batch = PackedBatch(ids, positions, lengths, torch.arange(len(ids)), ids)
    model = tiny(name)
    assert choose_form(model) == "packed"
    expected = hidden_states(model, batch).detach()
    model.to(device(), torch.bfloat16)
    found = hidden_states(model, batch.to(device())).detach().float().cpu()
    # Experts may be chosen otherwise where two are nearly as good.
    close = (found - expected).abs() <= 0.1 * expected.abs().clamp_min(1.0)
    assert close.float().mean() > (0.9 if "Moe" in name or name in ("GptOss", "Mixtral") else 0.99)
