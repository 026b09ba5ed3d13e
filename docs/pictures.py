"""Make the pictures of README from real runs: ``python docs/pictures.py FOLDER``.

``wmss demo`` runs in FOLDER, and Chromium takes ``report.png`` from its report. Then a Slurm
cluster of two nodes starts on this machine (``tests/slurm/cluster.py``), and a study on the demo's
model and data is submitted to it. What ``wmss status`` prints while the joint training runs becomes
``status.svg``. This needs what ``tests/install.sh`` installs, and a few minutes on two idle cores.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from rich.console import Console
from rich.text import Text

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests"))

from slurm.cluster import Cluster  # noqa: E402

WMSS = [sys.executable, "-m", "wmss_cli.cli.main"]
WIDTH = 104
REPORT_PX = (800, 915)

SHORT = {"time_limit_min": 30, "signal_lead_s": 60}
PROFILE = {"array_limit": 2, "train": SHORT, "score": SHORT, "eval": SHORT, "cpu": SHORT}


def main(folder: Path) -> None:
    """Make both pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    wmss(folder, "demo")
    (report,) = (folder / "runs/demo").glob("report-*/report.html")
    photograph(report, DOCS / "report.png")
    with Cluster() as cluster:
        os.environ.update(cluster.environment)
        wmss(folder, "run", str(study(folder)), "--cluster", "slurm", "--profile", "profile.yaml")
        wait_for_joint_training(folder)
        printed = wmss(folder, "status", "runs/study", FORCE_COLOR="1", COLUMNS=str(WIDTH))
        wmss(folder, "cancel", "runs/study", "--yes")
    (DOCS / "status.svg").write_text(drawn(printed), encoding="utf-8")


def wmss(folder: Path, *arguments: str, **environment: str) -> str:
    """Run a command, and return what it prints to stdout."""
    return subprocess.run(
        [*WMSS, *arguments],
        cwd=folder,
        env={**os.environ, "TERM": "xterm-256color", **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def study(folder: Path) -> Path:
    """Write the demo's study with one seed, on the demo's base model and data; return its file."""
    runs = folder / "runs/demo"
    values = yaml.safe_load((DOCS.parent / "configs/demo.yaml").read_text(encoding="utf-8"))
    (data,) = runs.glob("demo-data-*")
    # The first training of the demo makes its base model.
    base = min(runs.glob("sft-*/manifest.json"), key=lambda file: file.stat().st_mtime).parent
    values |= {
        "run_dir": "runs/study",
        "model": str(base / "model"),
        "data": [str(data / "train.jsonl")],
        "eval_files": {"word-problems": str(data / "test.jsonl")},
        "arms": ["base", "m1", "wmss", "continued_sft"],
        "seeds": [],
        "score_entropy": {"shards": 4},
    }
    (folder / "profile.yaml").write_text(yaml.safe_dump(PROFILE), encoding="utf-8")
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return file


def wait_for_joint_training(folder: Path) -> None:
    """Wait until the joint training has made some steps."""
    for _ in range(1200):
        found = json.loads(wmss(folder, "status", "runs/study", "--json"))
        (joint,) = (stage for stage in found["stages"] if stage["label"] == "wmss")
        progress = list((folder / "runs/study").glob("joint-train-*.partial/metrics.jsonl"))
        if any(len(file.read_text().splitlines()) >= 20 for file in progress):
            return
        if joint["state"] not in ("waiting", "running"):
            sys.exit(f"the joint training is {joint['state']}")
        time.sleep(1)
    sys.exit("the joint training did not start in time")


def drawn(printed: str) -> str:
    """Return a terminal's text as an SVG that loads nothing from elsewhere."""
    console = Console(width=WIDTH, record=True, file=io.StringIO())
    console.print(Text.from_ansi("$ wmss status\n" + printed.rstrip("\n")))
    svg = console.export_svg(title="wmss status", unique_id="status")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return svg.replace("Fira Code", "ui-monospace, Menlo, Consolas, DejaVu Sans Mono")


def photograph(page: Path, picture: Path) -> None:
    """Write the top of a page as a PNG."""
    with tempfile.TemporaryDirectory() as profile:
        # As root, in a container, Chromium's own sandbox cannot start.
        browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        browser += [f"--user-data-dir={profile}", "--virtual-time-budget=4000"]
        # Sharp on screens with small pixels, too.
        browser += ["--force-device-scale-factor=1.5"]
        browser += [f"--window-size={REPORT_PX[0]},{REPORT_PX[1]}", f"--screenshot={picture}"]
        subprocess.run([*browser, page.resolve().as_uri()], check=True, capture_output=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
