"""Variables that other launchers leave in a shell, and which of them reach a process of wmss.

``mpirun``, ``torchrun``, ``accelerate`` and an outer ``srun`` describe their own ranks. DeepSpeed
exits if their local rank is not the one that it is given, and transformers would load a model as
one of their shards.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

_RANKS = frozenset(
    {
        *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
        *("GROUP_RANK", "ROLE_RANK", "ROLE_WORLD_SIZE", "GROUP_WORLD_SIZE", "NODE_RANK"),
        *("CROSS_RANK", "CROSS_SIZE", "LOCAL_SIZE"),
    }
)
_PREFIXES = (
    *("OMPI_COMM_WORLD_", "OMPI_UNIVERSE_SIZE", "PMI_", "PMIX_", "PMI2_", "MV2_COMM_WORLD_"),
    *("MPI_LOCAL", "HYDRA_", "TORCHELASTIC_", "ACCELERATE_", "FSDP_"),
)


def describes_ranks(name: str) -> bool:
    """Say whether a variable describes the ranks of another launcher."""
    return name in _RANKS or name.startswith(_PREFIXES)


def without_launchers(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the variables by which launchers describe their ranks."""
    return {name: value for name, value in environment.items() if not describes_ranks(name)}


def forget_launchers() -> None:
    """Remove these variables from this process; what it starts does not see them either."""
    for name in [name for name in os.environ if describes_ranks(name)]:
        del os.environ[name]
