"""What the tests of the sandbox share."""

from __future__ import annotations

import os

import pytest

from wmss_cli.core.verdict import Level
from wmss_cli.programs.sandbox import reaches


@pytest.fixture(params=["bubblewrap", "landlock"])
def level(request: pytest.FixtureRequest) -> Level:
    """Each level; skipped where it does not work, or a failure where WMSS_REQUIRE_SANDBOX=1."""
    problem = reaches(request.param)
    if problem and os.environ.get("WMSS_REQUIRE_SANDBOX") == "1":
        pytest.fail(problem)
    if problem:
        pytest.skip(problem)
    found: Level = request.param
    return found
