"""Run the battery of tests/battery and keep its table: `python -m bench.battery TIER`.

TIER is small, battery or full. A program whose case failed stands in the table all the same.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import arguments
from bench.code_digest import ROOT
from bench.measure import report

TARGETS = {"small": "test", "battery": "battery", "full": "battery-full"}


def main(tier: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        command = [sys.executable, "-m", "pytest", "tests/battery", "-n0", "-rs", "-s"]
        options = ["--tier", tier, "--figures", str(figures)]
        code = subprocess.run([*command, *options], cwd=ROOT).returncode
        result = json.loads(figures.read_text(encoding="utf-8"))
    if code and all(row["passed"] == row["tried"] for row in result["programs"]):
        sys.exit("a test failed that is no program of the table; nothing is kept")
    report("battery", {"target": TARGETS[tier], **result})
    return code


if __name__ == "__main__":
    sys.exit(arguments.run(main, __doc__, tier={"choices": TARGETS}))
