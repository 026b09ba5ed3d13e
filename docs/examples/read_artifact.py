"""Read an artifact: what made it, from what, and its table.

python docs/examples/read_artifact.py runs/demo/build-curriculum-1a2b3c4d5e
"""

import sys
from pathlib import Path

from wmss_cli.core.contents import check_contents
from wmss_cli.core.manifest import read_manifest
from wmss_cli.core.schema import CURRICULUM, read_parquet

folder = Path(sys.argv[1])

# An unfinished folder has no manifest and is refused.
manifest = read_manifest(folder)
print("stage  ", manifest.stage)
print("options", {name: manifest.config[name] for name in ("alpha", "beta", "gamma")})
print("inputs ", sorted(manifest.inputs))
print("samples", manifest.metrics["samples"])

# Every file must have the SHA-256 that the manifest lists.
print("sound  ", check_contents([folder]).files, "files")

# Rows are joined by example_id, never by row number.
table = read_parquet(folder / "curriculum.parquet", CURRICULUM)
rows = sorted(table.to_pylist(), key=lambda row: -row["probability"])
for row in rows[:3]:
    print(row["example_id"], f"{row['probability']:.3f}")
