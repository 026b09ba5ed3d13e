"""GPUs by the names that Slurm sites give them, with values from the vendor's data sheets."""

from __future__ import annotations

import re
from typing import NamedTuple


class GpuType(NamedTuple):
    """A type of GPU.

    Attributes
    ----------
    mem_gb : float
        Memory, in GB.
    tflops : float
        Dense bf16 TFLOP/s.
    link_gb_per_s : float
        Speed to the other GPUs of its node, one way, in GB/s.
    """

    mem_gb: float
    tflops: float
    link_gb_per_s: float


# Without NVLink, the GPUs of a node communicate over 16 lanes of PCIe.
_PCIE_4, _PCIE_5 = 32.0, 64.0

# Longer names first: the first one found in a site's name counts.
TYPES = {
    "gh200": GpuType(96, 989, 450),
    "b300": GpuType(270, 2250, 900),
    "b200": GpuType(180, 2250, 900),
    "h200": GpuType(141, 989, 450),
    "h100_nvl": GpuType(94, 835, 300),
    "h100_pcie": GpuType(80, 756, 300),
    "h100": GpuType(80, 989, 450),
    "h800": GpuType(80, 989, 200),
    "h20": GpuType(96, 148, 450),
    "a100": GpuType(80, 312, 300),
    "a800": GpuType(80, 312, 200),
    "l40s": GpuType(48, 362, _PCIE_4),
    "l40": GpuType(48, 181, _PCIE_4),
    "l4": GpuType(24, 121, _PCIE_4),
    "6000_ada": GpuType(48, 364, _PCIE_4),
    "a6000": GpuType(48, 155, _PCIE_4),
    "a40": GpuType(48, 150, _PCIE_4),
    "a30": GpuType(24, 165, 100),
    "a10": GpuType(24, 125, _PCIE_4),
    "5090": GpuType(32, 209, _PCIE_5),
    "4090": GpuType(24, 165, _PCIE_4),
    "3090": GpuType(24, 71, _PCIE_4),
}


def find_type(name: str | None) -> GpuType | None:
    """Return what is known of a GPU by a name such as ``nvidia_a100_40gb_pcie``, ``RTX4090``.

    A memory size in the name overrides the usual one of its type.
    """
    plain = re.sub(r"[^a-z0-9]+", "_", (name or "").lower())
    for known, found in TYPES.items():
        # h200 is not gh200, and a10 is not a100.
        if re.search(rf"(?<![a-z0-9]){known}(?![0-9])|(?<=rtx){known}(?![0-9])", plain):
            said = re.search(r"(\d+)_?gb?(?![a-z0-9])", plain)
            return found._replace(mem_gb=float(said[1])) if said else found
    return None
