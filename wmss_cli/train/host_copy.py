"""Copies of training states in host memory, which do not change while training continues."""

from __future__ import annotations

import io
import pickle
from typing import Any

import torch
from torch import Tensor, UntypedStorage


class HostMemory:
    """Takes one copy of nested states at a time.

    States with the same structure reuse the memory of the previous copy, which is pinned if there
    is a GPU. So there is only one copy at a time, and it is as large as the states.
    """

    def __init__(self) -> None:
        self._blocks: list[Tensor] = []
        self._used = 0

    def clear(self) -> None:
        """Let the next copy reuse the memory of the previous one."""
        self._used = 0

    def copy(self, states: Any) -> Any:
        """Return the same nested states with tensors in host memory.

        Tensors that share storage also do so in the copy, since ``torch.save`` writes the storage.

        Parameters
        ----------
        states : Any
            Anything that ``torch.save`` accepts.
        """
        tensors: list[Tensor] = []

        class Pickler(pickle.Pickler):
            def persistent_id(self, value: Any) -> int | None:
                if not isinstance(value, Tensor):
                    return None
                tensors.append(value.detach())
                return len(tensors) - 1

        # The rest is small. It contains objects of DeepSpeed that may change, so it is copied, too.
        rest = io.BytesIO()
        Pickler(rest).dump(states)
        storages: dict[int, UntypedStorage] = {}
        copies = [self._copy(tensor, storages) for tensor in tensors]
        if torch.cuda.is_available():
            torch.cuda.synchronize()

        class Unpickler(pickle.Unpickler):
            def persistent_load(self, place: int) -> Tensor:
                return copies[place]

        rest.seek(0)
        return Unpickler(rest).load()

    def _copy(self, tensor: Tensor, storages: dict[int, UntypedStorage]) -> Tensor:
        source = tensor.untyped_storage()
        if source.nbytes() == 0:
            return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype)
        if source.data_ptr() not in storages:
            block = self._block(source.nbytes())
            whole = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(source)
            block.copy_(whole, non_blocking=True)
            storages[source.data_ptr()] = block.untyped_storage()
        return torch.empty(0, dtype=tensor.dtype).set_(
            storages[source.data_ptr()], tensor.storage_offset(), tensor.size(), tensor.stride()
        )

    def _block(self, nbytes: int) -> Tensor:
        """Return the next block; if its size has changed, it is allocated anew."""
        place, self._used = self._used, self._used + 1
        if place < len(self._blocks) and len(self._blocks[place]) == nbytes:
            return self._blocks[place]
        del self._blocks[place:]
        self._blocks.append(_new_block(nbytes))
        return self._blocks[place]


def _new_block(nbytes: int) -> Tensor:
    block = torch.empty(nbytes, dtype=torch.uint8)
    if torch.cuda.is_available():
        # Not with pin_memory, whose allocator rounds up to a power of two. Blocks last about as
        # long as the process; the driver releases them when it ends.
        cudart = torch.cuda.cudart()
        torch.cuda.check_error(int(cudart.cudaHostRegister(block.data_ptr(), nbytes, 0)))
    return block
