"""Say which figures were measured on other code than that of this checkout.

A figure may stay when a reviewed line of `bench/neutral.csv` says why the change does not move it:

    figure,digest,reason
    predict_one,0123456789abcdef,a new message for missing files

The digest is that of the figure's files now, so the line ends to be valid with the next change.
`python -m bench.stale --neutral REASON FIGURE ...` writes such lines.
"""

import csv
import json
import math
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bench.catalogue import FIGURES
from bench.code_digest import ROOT

RESULTS = ROOT / "bench" / "results"
NEUTRAL = ROOT / "bench" / "neutral.csv"
# One-off experiments; each names the commit of its own, and none is measured again.
RECORDS = "records"
_CODE = ("src", "bench", "tests")
REQUIRED = ("commit", "machine", "versions", "date", "digest")


def main() -> int:
    if sys.argv[1:2] == ["--neutral"]:
        declare_neutral(*sys.argv[2:])
        return 0
    problems = [*missing_entries(), *stale_figures(), *false_digests()]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def was_measured(name: str) -> bool:
    return (RESULTS / f"{name}.json").exists()


def read_result(name: str) -> dict[str, Any]:
    """The content of `bench/results/NAME.json`."""
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return result


def missing_entries() -> Iterator[str]:
    """Figures that were not measured, and results that lack what a figure needs."""
    yield from (
        f"{name}: not measured; {how_to_measure(name)}"
        for name in FIGURES
        if not was_measured(name)
    )
    for file in sorted(RESULTS.glob("*.json")):
        if file.stem == RECORDS:
            continue
        if file.stem not in FIGURES:
            yield f"{file.name}: the figure is not in bench/catalogue.py"
            continue
        result = read_result(file.stem)
        missing = [key for key in REQUIRED if not result.get(key)]
        if missing:
            yield f"{file.name}: without {', '.join(missing)}; {how_to_measure(file.stem)}"
        elif result["commit"].endswith("-dirty"):
            yield f"{file.name}: of uncommitted code; commit, then {how_to_measure(file.stem)}"
        elif result["name"] != file.stem or not is_plausible(result):
            yield f"{file.name}: not as it was written; {how_to_measure(file.stem)}"


def is_plausible(value: Any) -> bool:
    """Whether all numbers are finite, and each spread is in order."""
    if isinstance(value, dict):
        if {"median", "min", "max"} <= value.keys():
            numbers = [value["min"], value["median"], value["max"]]
            if None in numbers or sorted(numbers) != numbers:
                return False
        return all(map(is_plausible, value.values()))
    if isinstance(value, list):
        return all(map(is_plausible, value))
    return not isinstance(value, float) or math.isfinite(value)


def false_digests() -> Iterator[str]:
    """Results whose digest is not that of their commit, as far as Git has the commit."""
    results = {name: read_result(name) for name in FIGURES if was_measured(name)}
    for commit in sorted({str(result.get("commit")) for result in results.values()}):
        with tempfile.TemporaryDirectory() as folder:
            if not check_out(commit, Path(folder)):
                continue
            for name, result in results.items():
                if result.get("commit") == commit and not is_true_digest(name, Path(folder)):
                    yield f"{name}: its digest is not that of {commit}; {how_to_measure(name)}"


def is_true_digest(name: str, root: Path) -> bool:
    try:
        return FIGURES[name].digest(root) == read_result(name).get("digest")
    except FileNotFoundError:
        return False


def check_out(commit: str, folder: Path) -> bool:
    """Write the files of a commit into a folder; whether Git has it."""
    command = ["git", "archive", "--format=tar", commit, "--", *_CODE]
    try:
        with tempfile.TemporaryFile() as archive:
            done = subprocess.run(command, cwd=ROOT, stdout=archive, stderr=subprocess.DEVNULL)
            archive.seek(0)
            if done.returncode == 0:
                with tarfile.open(fileobj=archive) as opened:
                    opened.extractall(folder, filter="data")
    except OSError:  # There is no Git.
        return False
    return done.returncode == 0


def stale_figures() -> Iterator[str]:
    """One text for each figure whose code has changed without a line that says it is neutral."""
    neutral = read_neutral()
    for name, figure in FIGURES.items():
        if not was_measured(name):
            continue
        result = read_result(name)
        digest = figure.digest()
        if result.get("digest") == digest:
            if name in neutral:
                yield f"bench/neutral.csv: the line of {name} is needless, the figure is up to date"
        elif neutral.pop(name, ("", ""))[0] != digest:
            yield (
                f"{name}: measured at {result.get('commit', 'an unknown commit')}; since then "
                f"changed: {changes_since(result, figure.files())}\n"
                f"    {how_to_measure(name)}\n"
                f"    or, if the change is neutral: python -m bench.stale --neutral REASON {name}"
            )
    for name in neutral.keys() - FIGURES.keys():
        yield f"bench/neutral.csv: there is no figure {name}"


def read_neutral() -> dict[str, tuple[str, str]]:
    """Figure to (digest, reason)."""
    with NEUTRAL.open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.DictReader(opened))
    for row in rows:
        if (row["reason"] or "").strip() in ("", "REASON"):
            raise SystemExit(f"bench/neutral.csv: {row['figure']} has no reason")
    lines = {row["figure"]: (row["digest"], row["reason"]) for row in rows}
    if len(lines) < len(rows):
        raise SystemExit("bench/neutral.csv: a figure has two lines")
    return lines


def declare_neutral(reason: str, *names: str) -> None:
    """Write the lines of some figures; a reviewer reads them."""
    lines = read_neutral()
    lines |= {name: (FIGURES[name].digest(), reason) for name in names}
    with NEUTRAL.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(("figure", "digest", "reason"))
        writer.writerows((name, *lines[name]) for name in FIGURES if name in lines)


def how_to_measure(name: str) -> str:
    return f"measure it: python -m bench.{FIGURES[name].command}"


def changes_since(result: dict[str, Any], files: Iterable[Path]) -> str:
    """Names of changed files, as Git knows them; of any that may have, where it does not."""
    names = sorted(map(str, files))
    command = ["git", "diff", "--name-only", str(result.get("commit")), "--", *names]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        names = names if done.returncode else done.stdout.split()
    except OSError:  # There is no Git.
        pass
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


if __name__ == "__main__":
    sys.exit(main())
