"""Send what could not be sent at once, as jobs end."""

from __future__ import annotations

from pathlib import Path

from wmss_cli.launch.ledger import Ledger
from wmss_cli.launch.submit import RunSettings, submit


def send_rest(ledger: Ledger) -> int:
    """Send what an earlier submission left for later, as far as there is room.

    What failed meanwhile is left alone, and so is what needs it.

    Returns
    -------
    int
        Jobs and array tasks that only wait for room.

    Raises
    ------
    SlurmError
        If Slurm refuses, or does not answer.
    """
    later = ledger.later()
    if not later:
        return 0
    plan = ledger.read_plan()
    if not any(link.name in later for link in plan.links()):
        # Of another configuration, or cut otherwise.
        return 0
    config = Path(plan.config) if plan.config else None
    count = 0
    for group in plan.groups:
        run = RunSettings(ledger.run_dir, group.profile, group.profile_name, config)
        count += sum(one.later for one in submit(group.steps, run, adds=True, rest=True))
    return count
