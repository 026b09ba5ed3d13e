"""The CPUs that a process runs on: those next to its GPU, where it may use them.

A launch of the GPU's work, a copy and an optimizer in host memory all pass through them, and what
they write first lies in the memory beside them.
"""

from __future__ import annotations

import os
from collections.abc import Set
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

_PCI = Path("/sys/bus/pci/devices")


def stay_near(device: torch.device) -> None:
    """Keep all threads of this process on the CPUs next to its GPU.

    It goes no further than what the process may use, and does nothing on a CPU, where the machine
    does not say which CPUs they are, or where they are fewer than the threads of torch. Where the
    process may use none of them, the log has a line.
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
    """Return what the bus calls a GPU, or None where torch does not know it."""
    if device.type != "cuda":
        return None
    found: Any = torch.cuda.get_device_properties(device)
    try:
        return f"{found.pci_domain_id:04x}:{found.pci_bus_id:02x}:{found.pci_device_id:02x}.0"
    except AttributeError:
        return None


def near_cpus(address: str, devices: Path = _PCI) -> frozenset[int]:
    """Return the CPUs next to a device, none if the machine does not say.

    Parameters
    ----------
    address : str
        Of the device, such as ``0000:1b:00.0``.
    devices : Path
        The folder with a folder for each device, in which ``local_cpulist`` says ``0-23,48-71``.
    """
    with suppress(OSError):
        text = (devices / address / "local_cpulist").read_text(encoding="ascii")
        spans = [span.partition("-") for span in text.strip().split(",") if span]
        return frozenset(
            cpu for first, _, last in spans for cpu in range(int(first), int(last or first) + 1)
        )
    return frozenset()


def choose_cpus(near: Set[int], allowed: Set[int], threads: int) -> frozenset[int]:
    """Return the CPUs to stay on, none to stay where the process is.

    Parameters
    ----------
    near, allowed : set of int
        The CPUs next to the GPU, and those that the process may use.
    threads : int
        That compute; they are worth more than being near.
    """
    both = frozenset(near & allowed)
    return both if threads <= len(both) < len(allowed) else frozenset()


def bind_threads(cpus: Set[int]) -> None:
    """Keep the threads that this process has on some CPUs; those that they start inherit it."""
    for task in Path("/proc/self/task").iterdir():
        # One may end in this moment.
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), cpus)
