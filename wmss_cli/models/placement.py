"""Pins a process to the CPUs next to its GPU, if it may use them.

The GPU's kernel launches, copies and an optimizer in host memory all pass through them, and what
they write first is placed in the memory next to them.
"""

from __future__ import annotations

import os
from collections.abc import Set
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

# It has a folder for each device, whose ``local_cpulist`` contains ``0-23,48-71``.
_PCI = Path("/sys/bus/pci/devices")


def stay_near(device: torch.device) -> None:
    """Keep all threads of this process on the CPUs next to its GPU.

    It uses only CPUs that the process may use. It does nothing on a CPU, if the machine does not
    say which CPUs are near, or if they are fewer than the threads of torch. If the process may use
    none of them, it writes a line to the log.
    """
    address = _address(device)
    if address is None:
        return
    allowed = os.sched_getaffinity(0)
    near = near_cpus(address)
    chosen = choose_cpus(near, allowed, torch.get_num_threads())
    if chosen:
        bind_threads(chosen)
    elif near and not near & allowed:
        print(  # noqa: T201 - goes to the log of the stage
            f"{device}: this process may use CPUs {sorted(allowed)}, far from its GPU, whose CPUs "
            f"are {sorted(near)}; see --distribution and --cpu-bind of srun",
            flush=True,
        )


def _address(device: torch.device) -> str | None:
    """Return the bus address of a GPU, or None if torch does not know it."""
    if device.type != "cuda":
        return None
    found: Any = torch.cuda.get_device_properties(device)
    try:
        return f"{found.pci_domain_id:04x}:{found.pci_bus_id:02x}:{found.pci_device_id:02x}.0"
    except AttributeError:
        return None


def near_cpus(address: str) -> frozenset[int]:
    """Return the CPUs next to a device, or none if the machine does not say.

    Parameters
    ----------
    address : str
        Bus address of the device, such as ``0000:1b:00.0``.
    """
    with suppress(OSError):
        text = (_PCI / address / "local_cpulist").read_text(encoding="ascii")
        spans = [span.partition("-") for span in text.strip().split(",") if span]
        return frozenset(
            cpu for first, _, last in spans for cpu in range(int(first), int(last or first) + 1)
        )
    return frozenset()


def choose_cpus(near: Set[int], allowed: Set[int], threads: int) -> frozenset[int]:
    """Return the CPUs to pin to, or none to leave the process where it is.

    Parameters
    ----------
    near, allowed : set of int
        The CPUs next to the GPU, and those that the process may use.
    threads : int
        Number of computing threads, which matter more than being near.
    """
    both = frozenset(near & allowed)
    return both if threads <= len(both) < len(allowed) else frozenset()


def bind_threads(cpus: Set[int]) -> None:
    """Pin the existing threads of this process to some CPUs; new threads inherit that."""
    for task in Path("/proc/self/task").iterdir():
        # A thread may end at this moment.
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), cpus)
