"""What ``wmss doctor`` and its job agree on; no torch is imported here."""

from __future__ import annotations

from wmss_cli.core.config import Section

RANKS_FILE = "ranks.json"


class ProbeConfig(Section):
    """What the login node wrote for the job to read back."""

    token: str = ""
    """A random text."""
