"""What a sandbox for programs of models needs from this machine."""

from __future__ import annotations

import shutil
import subprocess


def has_user_namespaces() -> bool:
    """Say whether a user without rights can make a user namespace, as bubblewrap does."""
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "--user", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
