"""Writes the pages of docs/ that follow from the code; `--check` says if they are up to date."""

import os
import subprocess
import sys
from pathlib import Path

from sharpeye import errors
from sharpeye.cli.app import COMMANDS
from sharpeye.config import describe

DOCS = Path(__file__).parent.parent / "docs"
NOTE = "<!-- Written by `make docs`; edit the code instead. -->\n\n"


def main() -> int:
    pages = {"cli.md": cli_page(), "config.md": config_page(), "exit-codes.md": errors_page()}
    stale = [name for name, text in pages.items() if read(DOCS / name) != text]
    if "--check" in sys.argv:
        if stale:
            print(f"out of date: {', '.join(stale)}; run: make docs", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(pages[name], encoding="utf-8")
    return 0


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8") if page.exists() else ""


def help_of(*arguments: str) -> str:
    """What `--help` prints, at 90 columns."""
    command = [sys.executable, "-m", "sharpeye", *arguments, "--help"]
    environment = os.environ | {"COLUMNS": "90", "TERMINAL_WIDTH": "90", "NO_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def cli_page() -> str:
    parts = [f"# The command line\n\n{NOTE}```text\n{help_of()}\n```\n"]
    for name in COMMANDS:
        parts.append(f"## sharpeye {name}\n\n```text\n{help_of(name)}\n```\n")
    return "\n".join(parts)


def config_page() -> str:
    rows = "\n".join(f"| `{key}` | `{default}` | {text} |" for key, default, text in describe())
    return (
        f"# Configuration\n\n{NOTE}"
        "Every knob of `sharpeye train`. Set one with `--set key=value`, many with\n"
        "`--config FILE.toml`; a run writes all of them to its `config.toml`.\n\n"
        f"| key | default | meaning |\n|---|---|---|\n{rows}\n"
    )


def errors_page() -> str:
    tree = (errors.__doc__ or "").strip()
    return (
        f"# Exit codes\n\n{NOTE}"
        "0 is done, 1 is a bug in SharpEye; the others have a name, a line on stderr, and no\n"
        f"traceback.\n\n```text\n{tree}\n```\n"
    )


if __name__ == "__main__":
    sys.exit(main())
