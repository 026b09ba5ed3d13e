"""What training keeps on a GPU, from the shapes of its models, without torch.

The engine is DeepSpeed 0.19 as :mod:`wmss_cli.train.engine` configures it: in bf16 the weights are
bf16, and the sums of gradients, the master weights and Adam's two moments are fp32; in fp32 the
engine keeps a master copy from ZeRO 1 on. The tests compare with what a run allocates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wmss_cli.models.shape import ModelShape
from wmss_cli.train import buckets
from wmss_cli.train.activations import FP32, block_activations, norm_activations

MOMENTS = 2 * FP32
"""Bytes of Adam's moments for each parameter."""

LOGITS_BYTES = 2 * 2**30
"""Bytes of a chunk of the loss on a GPU; as in :mod:`wmss_cli.train.objectives.chunks`, which
imports torch."""

STAGES = (0, 1, 2, 3)


@dataclass(frozen=True)
class Trained:
    """The models of one engine, and how they are trained.

    Attributes
    ----------
    strong : ModelShape
        The model that is trained.
    weak : ModelShape or None
        The model whose logits are mixed in.
    weak_frozen : bool
        Whether no gradient reaches the weak model.
    bf16 : bool
        Whether training is in bf16, else in fp32.
    checkpointing : int
        The backward pass recomputes every n-th block: 1 means all of them, 0 none.
    offload_optimizer, offload_param : bool
        What is kept in host memory.
    bucket, live : int or None
        Number of gradient elements that are reduced at a time, and of weights that may be gathered
        at ZeRO 3, unless they follow from the sizes (see :mod:`wmss_cli.train.buckets`).
    """

    strong: ModelShape
    weak: ModelShape | None = None
    weak_frozen: bool = False
    bf16: bool = True
    checkpointing: int = 0
    offload_optimizer: bool = False
    offload_param: bool = False
    bucket: int | None = None
    live: int | None = None

    @property
    def width(self) -> int:
        """Bytes of a weight, an activation and a gradient."""
        return 2 if self.bf16 else FP32

    @property
    def models(self) -> tuple[ModelShape, ...]:
        """All models, each with all of its weights in memory."""
        return (self.strong,) if self.weak is None else (self.strong, self.weak)

    @property
    def learners(self) -> tuple[ModelShape, ...]:
        """The models that gradients reach."""
        return (self.strong,) if self.weak_frozen else self.models

    @property
    def parameters(self) -> int:
        """Number of parameters of all models."""
        return sum(model.parameters for model in self.models)

    @property
    def trained_parameters(self) -> int:
        """Number of parameters of the models that gradients reach."""
        return sum(model.parameters for model in self.learners)

    @property
    def largest(self) -> int:
        """Number of elements of the largest trained weight: an embedding or a head."""
        return max(model.head_parameters for model in self.learners)

    def bucket_at(self, zero_stage: int) -> int:
        """Return how many gradient elements are reduced at a time."""
        return self.bucket or buckets.reduce_bucket(zero_stage, self.largest)

    @property
    def gathered(self) -> int:
        """Largest number of weight elements that are whole on each GPU during a pass at ZeRO 3."""
        heads = sum(model.head_parameters for model in self.models)
        prefetch = buckets.prefetch_bucket(max(model.block_parameters for model in self.models))
        live = self.live or buckets.live_parameters(heads, prefetch)
        return min(self.parameters, max(live, heads))


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU.

    Attributes
    ----------
    weights, gradients, optimizer : int
        Kept while gradients add up; the optimizer's are the master weights and Adam's moments.
    buffers : int
        For collecting gradients and gathering weights (ZeRO 3), and copies of these.
    activations : int
        Saved for the backward pass of one micro-batch.
    working : int
        Needed by a block while it is recomputed, or while its gradient is computed.
    loss : int
        A chunk of logits, the heads' gradients in fp32, and the hidden states that predict.
    step_copies : int
        Copies for the reduction and the optimizer step, after the activations are freed.
    """

    weights: int
    gradients: int
    optimizer: int
    buffers: int
    activations: int
    working: int
    loss: int
    step_copies: int

    @property
    def state(self) -> int:
        """Used whatever the micro-batch: weights, gradients, optimizer, buffers."""
        return self.weights + self.gradients + self.optimizer + self.buffers

    @property
    def micro_batch(self) -> int:
        """The peak of a micro-batch: in the loss, or in a block's backward pass."""
        return self.activations + max(self.loss, self.working)

    @property
    def peak(self) -> int:
        """The peak: in a micro-batch, or in the optimizer step."""
        return self.state + max(self.micro_batch, self.step_copies)


def memory(trained: Trained, zero_stage: int, world_size: int, tokens: int) -> Memory:
    """Return the memory use of a GPU.

    Parameters
    ----------
    trained : Trained
        The models.
    zero_stage : int
        0 to 3; 0 is only for fp32.
    world_size : int
        Number of GPUs.
    tokens : int
        Number of tokens of a micro-batch; all of them may predict.
    """
    assert zero_stage in STAGES
    assert zero_stage > 0 or not trained.bf16
    weights, gradients, optimizer = _states(trained, zero_stage, world_size)
    return Memory(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        buffers=_buffers(trained, zero_stage, world_size),
        activations=activation_bytes(trained, tokens),
        working=working_bytes(trained, tokens),
        loss=loss_bytes(trained, tokens),
        step_copies=_step_copies(trained, zero_stage, world_size),
    )


def _states(trained: Trained, zero_stage: int, world_size: int) -> tuple[int, int, int]:
    """Return the bytes of weights, gradients, and the optimizer."""
    width, learning = trained.width, trained.trained_parameters
    share = padded(trained, world_size) // world_size
    weights = width * trained.parameters
    if zero_stage == 3:
        weights = 0 if trained.offload_param else width * -(-trained.parameters // world_size)
    optimizer = (FP32 + MOMENTS) * share if zero_stage else MOMENTS * learning
    if zero_stage >= 2:
        gradients = FP32 * share
    elif trained.bf16:
        # Those of one backward pass in bf16, and their sum in fp32, not divided.
        gradients = width * learning + FP32 * padded(trained, world_size)
    else:
        gradients = FP32 * learning
    if trained.offload_optimizer:
        optimizer = 0
        # At ZeRO 2 in bf16 the sum remains, next to a buffer for the transfer to the host.
        kept = gradients if zero_stage == 2 and trained.bf16 else 0
        gradients = kept + width * (trained.largest if zero_stage == 2 else 0)
    return weights, gradients, optimizer


def padded(trained: Trained, world_size: int) -> int:
    """Return the number of trained parameters, padded by ZeRO to equal shares.

    There are two groups, with weight decay (matrices) and without (the rest); each is padded to a
    multiple of twice the number of ranks.
    """
    vectors = sum(
        model.hidden_size + model.layers * (model.block_parameters - model.block_matrix_parameters)
        for model in trained.learners
    )
    unit = 2 * world_size
    return sum(-(-n // unit) * unit for n in (trained.trained_parameters - vectors, vectors))


def kept_buffers(trained: Trained, zero_stage: int, world_size: int) -> int:
    """Return the bytes of the buffers that are kept between passes."""
    if zero_stage == 0 or (zero_stage == 1 and trained.bf16):
        return 0
    bucket = trained.width * trained.bucket_at(zero_stage)
    if zero_stage == 2:
        # One is filled while the other is reduced.
        return 2 * bucket
    if zero_stage == 3 and world_size > 1:
        return bucket + trained.width * trained.gathered
    return bucket


def _buffers(trained: Trained, zero_stage: int, world_size: int) -> int:
    kept = kept_buffers(trained, zero_stage, world_size)
    if not kept:
        return 0
    # What is reduced is flattened into a copy; a weight above a bucket's size is reduced alone.
    largest = max(trained.bucket_at(zero_stage), trained.largest)
    return kept + trained.width * min(trained.trained_parameters, largest)


def _step_copies(trained: Trained, zero_stage: int, world_size: int) -> int:
    learning = trained.trained_parameters
    if zero_stage == 0:
        # A flattened bucket of gradients.
        return FP32 * min(learning, buckets.BUCKET + trained.largest)
    share = padded(trained, world_size) // world_size
    # The norm of a gradient is computed in fp64.
    norm = 8 * min(share, trained.largest)
    if trained.offload_optimizer:
        return norm
    if zero_stage == 3:
        return max(norm, FP32 * min(share, buckets.SUB_GROUP))
    if not trained.bf16:
        return max(norm, FP32 * share)
    if zero_stage == 2:
        return norm
    # ZeRO 1 sends all gradients at once, in bf16; small ones are flattened first.
    return trained.width * learning + (FP32 * learning if learning <= buckets.BUCKET else 0)


def activation_bytes(trained: Trained, tokens: int) -> int:
    """Return what the forward pass of a micro-batch saves for the backward pass.

    Parameters
    ----------
    trained : Trained
        The models. A frozen one saves nothing.
    tokens : int
        Number of tokens of a micro-batch.
    """
    return tokens * sum(_saved(model, trained) for model in trained.learners)


def working_bytes(trained: Trained, tokens: int) -> int:
    """Return what the current block needs in addition to what is saved.

    Measured, in units of a third of what a block saves: one for gradients in the backward pass, two
    for a block that runs without saving (in a frozen model), and three more for a block that is
    recomputed, unless what a later block saved has been freed by then.
    """
    block = max(block_activations(model, trained.width) for model in trained.models)
    n = trained.checkpointing
    last = n > 0 and any(model.layers % n == 0 for model in trained.learners)
    thirds = 4 if last else 2 if trained.weak_frozen else 1
    return tokens * block * thirds // 3


def _saved(model: ModelShape, trained: Trained) -> int:
    """Return the bytes that a token stores in a model."""
    recomputed = model.layers // trained.checkpointing if trained.checkpointing else 0
    # A block that is recomputed saves only its input.
    blocks = recomputed * trained.width * model.hidden_size
    blocks += (model.layers - recomputed) * block_activations(model, trained.width)
    # The rotations of queries and keys are computed once: a sine and a cosine.
    rotations = 2 * trained.width * model.head_dim
    scaled = FP32 if model.wide_norms else trained.width
    return blocks + rotations + norm_activations(model.hidden_size, scaled)


def loss_bytes(trained: Trained, tokens: int) -> int:
    """Return what the chunked loss keeps (:mod:`wmss_cli.train.objectives.chunks`).

    Parameters
    ----------
    trained : Trained
        The models.
    tokens : int
        Number of tokens of a micro-batch, all of which may predict.
    """
    vocabulary = trained.strong.vocab_size
    # Narrow logits exist next to their fp32 copy, and so does the gradient.
    per_logit = FP32 + 3 * trained.width if trained.bf16 else FP32
    rows = max(1, min(tokens, LOGITS_BYTES // (vocabulary * per_logit)))
    hidden = trained.width * sum(model.hidden_size for model in trained.models)
    hidden += trained.width * sum(model.hidden_size for model in trained.learners)
    heads = FP32 * sum(model.head_parameters for model in trained.learners)
    return rows * vocabulary * per_logit + tokens * hidden + heads


def largest_micro_batch(
    trained: Trained, zero_stage: int, world_size: int, usable: int, most: int
) -> int:
    """Return the most tokens of a micro-batch that fit, or 0 if none do.

    Parameters
    ----------
    trained, zero_stage, world_size
        As in :func:`memory`.
    usable : int
        Memory of a GPU, in bytes.
    most : int
        Upper limit of the search.
    """
    return _last(lambda n: memory(trained, zero_stage, world_size, n).peak <= usable, most)


def largest_trial(trained: Trained, usable: int, most: int) -> int:
    """Return the most tokens of a pass that fit next to all weights, without an optimizer.

    Parameters
    ----------
    trained, usable, most
        As in :func:`largest_micro_batch`.
    """
    weights = trained.width * trained.parameters
    return _last(lambda n: weights + memory(trained, 3, 1, n).micro_batch <= usable, most)


def _last(holds: Callable[[int], bool], most: int) -> int:
    """Find by bisection the last number up to `most` for which a condition holds."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


def checkpoint_bytes(trained: Trained, zero_stage: int) -> int:
    """Return the disk space of one checkpoint: weights and states of the trained models.

    All ranks together need the same amount of host memory while it is written.
    """
    width = FP32 + MOMENTS if zero_stage else MOMENTS
    if zero_stage < 3:
        # At ZeRO 3 only the master weights are saved.
        width += trained.width
    return width * trained.trained_parameters


def export_bytes(trained: Trained, epochs_kept: int = 0) -> int:
    """Return the disk space of the exported models, including the strong one after epochs."""
    strong = epochs_kept * trained.strong.parameters
    return trained.width * (trained.trained_parameters + strong)
