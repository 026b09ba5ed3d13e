"""How a worker ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from wmss_cli.core.errors import InterruptedRunError

# As logging, and imports of what may be missing, catch whatever is raised while they work.
CATCHING = """\
import os, signal, sys, time
from pathlib import Path
from wmss_cli.launch.worker import run

def work():
    try:
        os.kill(os.getpid(), signal.SIGUSR2)
        time.sleep(60)
    except Exception:
        pass
    print("went on")

sys.exit(run(work, Path(sys.argv[1])))
"""


def test_a_signal_ends_work_that_catches_exceptions(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CATCHING, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == InterruptedRunError.exit_code, done.stderr
    assert done.stdout == ""
    report = json.loads((tmp_path / "error-00000.json").read_text())
    assert report["message"] == "stopped by SIGUSR2; the same command continues"
