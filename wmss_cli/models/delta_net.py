"""Linear attention by the gated delta rule: its parameters and FLOPs, without torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DeltaNet:
    """Linear attention that stands for attention in some blocks: the gated delta rule.

    Attributes
    ----------
    layers : int
        Blocks that have it.
    key_heads, value_heads, key_dim, value_dim : int
        Numbers of heads, and the size of one.
    kernel : int
        Tokens that the convolution before it sees.
    """

    layers: int
    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    kernel: int

    @property
    def mixed(self) -> int:
        """Numbers of all queries, keys and values of a token."""
        return 2 * self.key_heads * self.key_dim + self.values

    @property
    def values(self) -> int:
        """Numbers of all values of a token."""
        return self.value_heads * self.value_dim

    def matrix_parameters(self, hidden_size: int) -> int:
        """Return the weights of the products of one block: in, gate, decay and rate, out."""
        return hidden_size * (self.mixed + 2 * self.values + 2 * self.value_heads)

    @property
    def other_parameters(self) -> int:
        """The convolution of one block, its decays, and its norm."""
        return self.kernel * self.mixed + 2 * self.value_heads + self.value_dim

    @property
    def token_flops(self) -> int:
        """FLOPs of a token in one block: what its state says of the key, its change, its answer."""
        return 3 * 2 * self.value_heads * self.key_dim * self.value_dim
