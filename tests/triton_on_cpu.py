"""Import this first, and Triton's interpreter runs the kernels of Liger and Cut Cross-Entropy.

With ``TRITON_INTERPRET=1`` kernels run on tensors of the CPU, one program after the other. Of what
the compiler for GPUs does, Triton 3.9's interpreter leaves out two things that these kernels need;
they are added here. A third is not: the product of bf16 matrices, of which it takes the bits for
integers. So what has products is compared in fp32, or in fp16 where it takes 16 bits alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import triton
import triton.language as tl
from triton.language.extra import libdevice
from triton.runtime import interpreter

_convert = interpreter._implicit_cvt


def _with_floats(argument: Any) -> Any:
    """Give a kernel its floats as fp32 scalars, not as Python's."""
    if isinstance(argument, float):
        handle = interpreter.TensorHandle(np.array([argument], dtype=np.float32), tl.float32)
        return tl.tensor(handle, tl.float32)
    return _convert(argument)


@triton.jit
def _rsqrt(x):  # type: ignore[no-untyped-def]
    return tl.math.rsqrt(x)


@triton.jit
def _tanh(x):  # type: ignore[no-untyped-def]
    return 2.0 * tl.sigmoid(2.0 * x) - 1.0


@triton.jit
def _log1p(x):  # type: ignore[no-untyped-def]
    return tl.math.log(1.0 + x)


interpreter._implicit_cvt = _with_floats
# CUDA's functions, of which the interpreter has only the names.
libdevice.rsqrt, libdevice.tanh, libdevice.log1p = _rsqrt, _tanh, _log1p
