"""Entropies (Eq. 8), their pass over a token table, and the curriculum (Eq. 10)."""
