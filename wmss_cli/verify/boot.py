"""The harness as each sandbox starts with it: compiled once, and read from no file there."""

from __future__ import annotations

import functools
import importlib.util
import marshal
from collections.abc import Sequence
from pathlib import Path

_PACKAGES = ("wmss_cli", "wmss_cli.verify")
_MODULES = ("wmss_cli.verify.confine", "wmss_cli.verify.harness")
_LANDLOCK = ("wmss_cli.verify.confine", "wmss_cli.verify.landlock", "wmss_cli.verify.harness")

BOOT = """
import marshal, os, sys
size = int.from_bytes(os.read(0, 8), "little")
for name, code in marshal.loads(os.read(0, size)):
    module = sys.modules[name] = type(sys)(name)
    module.__path__ = []
    exec(code, vars(module))
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
module.main()
"""
"""What Python runs first: it reads :func:`harness_code` from its standard input."""


@functools.cache
def harness_code(with_landlock: bool) -> bytes:
    """Return the modules of the harness, for the same Python in another process."""
    names: Sequence[str] = _LANDLOCK if with_landlock else _MODULES
    codes = [(name, _code(name)) for name in (*_PACKAGES, *names)]
    data = marshal.dumps(codes)
    return len(data).to_bytes(8, "little") + data


def _code(name: str) -> object:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_bytes()
    return compile(source, spec.origin, "exec", dont_inherit=True)
