"""Linear attention by the gated delta rule: its parameters and FLOPs, without torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DeltaNet:
    """Linear attention that replaces attention in some blocks: the gated delta rule.

    Attributes
    ----------
    layers : int
        Number of blocks that use it.
    key_heads, value_heads, key_dim, value_dim : int
        Numbers of heads, and the sizes of a head.
    kernel : int
        Width of the convolution before it, in tokens.
    """

    layers: int
    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    kernel: int

    @property
    def mixed(self) -> int:
        """Size of all queries, keys and values of a token."""
        return 2 * self.key_heads * self.key_dim + self.values

    @property
    def values(self) -> int:
        """Size of all values of a token."""
        return self.value_heads * self.value_dim

    def matrix_parameters(self, hidden_size: int) -> int:
        """Return the number of weights in one block's products: in, gate, decay and rate, out."""
        return hidden_size * (self.mixed + 2 * self.values + 2 * self.value_heads)

    @property
    def other_parameters(self) -> int:
        """Parameters of one block's convolution, decays and norm."""
        return self.kernel * self.mixed + 2 * self.value_heads + self.value_dim

    @property
    def token_flops(self) -> int:
        """FLOPs of a token in one block: reading its state, updating it, and the output."""
        return 3 * 2 * self.value_heads * self.key_dim * self.value_dim
