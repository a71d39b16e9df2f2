"""Run one fuzz target with atheris.

    cd tests && python -m battery.fuzz TARGET --seconds N --seed S --corpus DIR --findings DIR

DIR of the corpus keeps what was reached from one run to the next; by default it is temporary. An
input that raises anything is written into the folder of findings, once for each place, and the run
goes on. The last line is JSON: executions, edges, corpus, findings, seed. Exit code 1 with a
finding, 3 without atheris.
"""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from battery.fuzz.checked_target import MAX_INPUT_BYTES, TARGETS

_RSS_LIMIT_MIB, _TIMEOUT_SECONDS = 2048, 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="battery.fuzz")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--findings", type=Path)
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed; run: pip install 'sharpeye[fuzz]'", file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory(prefix="sharpeye-fuzz-") as scratch:
        corpus = (options.corpus or Path(scratch, "corpus")).resolve()
        findings = (options.findings or Path(f"findings-{options.target}")).resolve()
        for folder in (corpus, findings):
            folder.mkdir(parents=True, exist_ok=True)
        before = set(findings.iterdir())
        log = _run(options.target, options.seconds, options.seed, corpus, findings, Path(scratch))
        new = sorted(file.name for file in set(findings.iterdir()) - before)
        if log.returncode and not new:  # for example an error of the target's own
            (findings / "crash-of-the-fuzzer").write_bytes(b"")
            new = ["crash-of-the-fuzzer"]
    if new:
        start = max(0, log.stderr.find("FINDING"))
        print(log.stderr[start : start + 20_000], file=sys.stderr)
    edges = re.findall(r" cov: (\d+)", log.stderr)
    executions = re.findall(r"number_of_executed_units: (\d+)|^#(\d+)\s", log.stderr, re.MULTILINE)
    summary = {
        "target": options.target,
        "executions": int("".join(executions[-1])) if executions else 0,
        "edges": int(edges[-1]) if edges else 0,
        "corpus": sum(1 for _ in corpus.iterdir()) if options.corpus else _corpus_size(log.stderr),
        "findings": new,
        "seed": options.seed,
    }
    print(json.dumps(summary))
    return 1 if new else 0


def _corpus_size(log: str) -> int:
    sizes = re.findall(r" corp: (\d+)/", log)
    return int(sizes[-1]) if sizes else 0


def _run(
    target: str, seconds: int, seed: int, corpus: Path, findings: Path, scratch: Path
) -> "subprocess.CompletedProcess[str]":
    work = scratch / "work"  # the targets' folders of temporary files
    work.mkdir()
    return subprocess.run(
        [
            *(sys.executable, "-m", "battery.fuzz.atheris_loop", target, findings, corpus),
            *(f"-max_total_time={seconds}", f"-seed={seed + 1}", f"-max_len={MAX_INPUT_BYTES}"),
            *(f"-artifact_prefix={findings}/", f"-rss_limit_mb={_RSS_LIMIT_MIB}"),
            *(f"-timeout={_TIMEOUT_SECONDS}", "-print_final_stats=1", "-reload=0"),
        ],
        env={**os.environ, "TMPDIR": str(work), "SHARPEYE_CACHE": str(work / "cache")},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main())
