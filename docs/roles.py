"""For the page "Python API": Sphinx roles in docstrings become links to what they name."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`(~?)([\w.]+)`")


def _link(role: re.Match[str]) -> str:
    name = role[2]
    shown = name.rpartition(".")[2] if role[1] else name
    # Optional: what the page does not show stays a name.
    return f'<autoref optional identifier="{name}"><code>{shown}</code></autoref>'


class Roles(Extension):
    """Rewrites the docstring of every module, class, function and attribute."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(_link, obj.docstring.value)
