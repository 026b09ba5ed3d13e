"""How much DeepSpeed gathers and reduces at a time, from the sizes of a pair, without torch.

At ZeRO 3 the heads of a pair are used outside their modules, so DeepSpeed keeps them gathered
during a pass. It prefetches blocks only while fewer than `stage3_max_live_parameters` elements are
gathered. The default of 1e9 is exceeded by the heads of an 8B pair alone, so it would never
prefetch. At ZeRO 2 reductions run during the backward pass. DeepSpeed sends a gradient above
`reduce_bucket_size` without a copy and frees it while it may still be read, so a bucket must hold
the largest one.
"""

from __future__ import annotations

BUCKET = 500_000_000
"""DeepSpeed reduces gradients after collecting this many elements (`reduce_bucket_size`)."""
REUSE = 1_000_000_000
"""At ZeRO 3 a weight stays gathered if there are fewer elements until its next use
(`stage3_max_reuse_distance`)."""
PREFETCH = 50_000_000
"""DeepSpeed prefetches this many elements at ZeRO 3 (`stage3_prefetch_bucket_size`)."""
SUB_GROUP = 1_000_000_000
"""The optimizer step of ZeRO 3 handles this many elements at a time (`sub_group_size`)."""


def reduce_bucket(zero_stage: int, largest: int) -> int:
    """Return the number of gradient elements that are reduced at a time.

    Parameters
    ----------
    zero_stage : int
        1 to 3.
    largest : int
        Number of elements of the largest trained weight.
    """
    return max(BUCKET, largest) if zero_stage == 2 else BUCKET


def prefetch_bucket(block: int) -> int:
    """Return the number of elements that are prefetched at ZeRO 3: two blocks.

    Parameters
    ----------
    block : int
        Number of elements of the largest block.
    """
    return max(PREFETCH, 2 * block)


def live_parameters(heads: int, prefetch: int, reuse: int = REUSE) -> int:
    """Return how many elements may be gathered at ZeRO 3 while more are prefetched.

    Parameters
    ----------
    heads : int
        Number of elements of all heads, which stay gathered.
    prefetch : int
        Number of prefetched elements; equally many are in use.
    reuse : int
        Number of elements that stay gathered for their next use.
    """
    return heads + reuse + 2 * prefetch
