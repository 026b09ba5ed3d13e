"""Landlock where the kernel has too little of it. What it does: test_sandbox.py."""

from __future__ import annotations

import pytest

from wmss_cli.verify import landlock


def test_an_old_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "landlock_version", lambda: 2)
    with pytest.raises(OSError, match="has version 2 here, 3 is needed"):
        landlock.restrict_files([], [])
