"""What a token stores in a block for its backward pass, from shapes, without torch."""

from __future__ import annotations

from wmss_cli.models.shape import ModelShape

FP32 = 4

DELTA_CHUNK = 64
"""Kernels of the gated delta rule process this many tokens together."""


def block_activations(model: ModelShape, width: int) -> int:
    """Return the bytes that a token stores in a block for its backward pass.

    Parameters
    ----------
    model : ModelShape
        The model of the block.
    width : int
        Bytes of an activation: 2 in bf16, 4 in fp32.
    """
    # A norm that scales before it rounds multiplies in fp32.
    scaled = FP32 if model.wide_norms else width
    norms = model.norms * norm_activations(model.hidden_size, scaled)
    # The inputs of the products with queries, keys and values, and with gate and up.
    inputs = 2 * width * model.hidden_size
    # Gate, its activation, up, and their product.
    feed_forward = 4 * width * model.intermediate_size
    # If there are two kinds of blocks, all count as the larger one.
    return (
        norms + inputs + max(_attention(model, width, scaled), _delta(model, width)) + feed_forward
    )


def _attention(model: ModelShape, width: int, scaled: int) -> int:
    queries, keys = model.heads * model.head_dim, model.kv_heads * model.head_dim
    # Queries, keys and values; the result, and its log-sum-exps in fp32.
    saved = width * 2 * (queries + keys) + FP32 * model.heads
    if model.qk_norm:
        saved += norm_activations(model.head_dim, scaled) * (model.heads + model.kv_heads)
    if model.output_gate:
        # The gate, its sigmoid, and the product.
        saved += 3 * width * queries
    return saved


def _delta(model: ModelShape, width: int) -> int:
    """Return what a block's delta rule stores with kernels that keep states only in a chunk."""
    delta = model.delta
    if delta is None:
        return 0
    # Before and after the convolution; queries and keys normalised; result, its gate and norm.
    saved = width * (2 * delta.mixed + (delta.mixed - delta.values) + 3 * delta.values)
    # Decays and rates in fp32; how the tokens of a chunk affect each other.
    return saved + delta.value_heads * (2 * FP32 + width * DELTA_CHUNK)


def norm_activations(size: int, scaled: int) -> int:
    """Return what a norm of `size` numbers stores: fp32 input and scale, and what it multiplies."""
    return FP32 * size + FP32 + scaled * size
