"""How much DeepSpeed gathers and reduces at a time, from the sizes of a pair, without torch.

At ZeRO 3 the heads of a pair are used outside their modules, so DeepSpeed keeps them gathered
through a pass. It fetches blocks ahead of their use only while fewer than
`stage3_max_live_parameters` are gathered: with its 1e9, which the heads of an 8B pair exceed alone,
never. At ZeRO 2 reductions run beside the backward pass. DeepSpeed sends a gradient above
`reduce_bucket_size` without a copy and frees it while it may still be read; so a bucket holds the
largest one.
"""

from __future__ import annotations

BUCKET = 500_000_000
"""DeepSpeed collects so many elements of gradients, then reduces them (`reduce_bucket_size`)."""
REUSE = 1_000_000_000
"""At ZeRO 3 a weight stays gathered if fewer elements come before its next use
(`stage3_max_reuse_distance`)."""
PREFETCH = 50_000_000
"""DeepSpeed fetches so many elements ahead at ZeRO 3 (`stage3_prefetch_bucket_size`)."""
SUB_GROUP = 1_000_000_000
"""ZeRO 3 steps over so many elements at a time (`sub_group_size`)."""


def reduce_bucket(zero_stage: int, largest: int) -> int:
    """Return the elements of gradients that are reduced at a time.

    Parameters
    ----------
    zero_stage : int
        1 to 3.
    largest : int
        Elements of the largest weight that is trained.
    """
    return max(BUCKET, largest) if zero_stage == 2 else BUCKET


def prefetch_bucket(block: int) -> int:
    """Return the elements that are fetched ahead at ZeRO 3: two blocks.

    Parameters
    ----------
    block : int
        Elements of the largest block.
    """
    return max(PREFETCH, 2 * block)


def live_parameters(heads: int, prefetch: int, reuse: int = REUSE) -> int:
    """Return how many elements may be gathered at ZeRO 3 while more are fetched ahead.

    Parameters
    ----------
    heads : int
        Elements of all heads, which stay gathered.
    prefetch : int
        Elements that are fetched ahead: as many more are in use.
    reuse : int
        Elements that stay gathered for their next use.
    """
    return heads + reuse + 2 * prefetch
