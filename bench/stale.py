"""Say which figures were measured on other code than that of this checkout.

A figure may stay when a reviewed line of `bench/neutral.csv` says why the change does not move it:

    figure,digest,reason
    predict_one,0123456789abcdef,a new message for missing files

The digest is that of the figure's paths now, so the line ends to be valid with the next change.
"""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from bench.catalogue import FIGURES
from bench.code_digest import ROOT, digest_of

RESULTS = ROOT / "bench" / "results"
NEUTRAL = ROOT / "bench" / "neutral.csv"
# One-off experiments; each names the commit of its own, and none is measured again.
RECORDS = "records"
REQUIRED = ("commit", "machine", "versions", "date", "digest")


def main() -> int:
    problems = [*missing_entries(), *stale_figures()]
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


def stale_figures() -> Iterator[str]:
    """One text for each figure whose code has changed without a line that says it is neutral."""
    neutral = read_neutral()
    for name, figure in FIGURES.items():
        if not was_measured(name):
            continue
        result = read_result(name)
        digest = digest_of(figure.all_paths)
        if result.get("digest") == digest:
            if name in neutral:
                yield f"bench/neutral.csv: the line of {name} is needless, the figure is up to date"
        elif neutral.pop(name, ("", ""))[0] != digest:
            yield (
                f"{name}: measured at {result.get('commit', 'an unknown commit')}; since then "
                f"changed: {changes_since(result, figure.all_paths)}\n"
                f"    {how_to_measure(name)}\n"
                f"    or, if the change is neutral, a line in bench/neutral.csv: "
                f"{name},{digest},REASON"
            )
    for name in neutral.keys() - FIGURES.keys():
        yield f"bench/neutral.csv: there is no figure {name}"


def read_neutral() -> dict[str, tuple[str, str]]:
    """Figure to (digest, reason)."""
    with NEUTRAL.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    for row in rows:
        if not (row["reason"] or "").strip():
            raise SystemExit(f"bench/neutral.csv: {row['figure']} has no reason")
    return {row["figure"]: (row["digest"], row["reason"]) for row in rows}


def how_to_measure(name: str) -> str:
    return f"measure it: python -m bench.{FIGURES[name].command}"


def changes_since(result: dict[str, Any], paths: tuple[str, ...]) -> str:
    """Names of changed files, as Git knows them; the paths where it does not."""
    command = ["git", "diff", "--name-only", str(result.get("commit")), "--", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    names = list(paths) if done.returncode else done.stdout.split()
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


if __name__ == "__main__":
    sys.exit(main())
