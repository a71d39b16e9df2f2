"""Writes the pages of docs/ that follow from the code; `--check` says if they are up to date."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import typer
from tools.figure_tables import tables
from tools.figures import with_figures

from sharpeye import errors
from sharpeye.artefact.export.export_formats import FORMATS, ExportSource
from sharpeye.artefact.export.snippets import fill_snippets
from sharpeye.artefact.manifest import Manifest
from sharpeye.cli.app import COMMANDS
from sharpeye.core.config import describe
from sharpeye.core.types import InputSpec

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
NOTE = "<!-- Written by `make docs`; edit the code instead. -->\n\n"


def main() -> int:
    pages = {
        DOCS / "cli.md": cli_page(),
        DOCS / "config.md": config_page(),
        DOCS / "exit-codes.md": errors_page(),
    }
    blocks = {**tables(), "program": program()}
    for page in (ROOT / "README.md", *sorted(DOCS.rglob("*.md"))):
        if page not in pages:
            pages[page] = with_figures(read(page), blocks)
    stale = [page for page, text in pages.items() if read(page) != text]
    if "--check" in sys.argv:
        if stale:
            names = ", ".join(page.name for page in stale)
            print(f"out of date: {names}; run: make docs", file=sys.stderr)
        return 1 if stale else 0
    for page in stale:
        page.write_text(pages[page], encoding="utf-8")
    return 0


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8") if page.exists() else ""


def help_of(*arguments: str) -> str:
    """What `--help` prints, at 90 columns."""
    command = [sys.executable, "-m", "sharpeye", *arguments, "--help"]
    environment = os.environ | {"COLUMNS": "90", "TERMINAL_WIDTH": "90", "NO_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def subcommands(name: str) -> list[str]:
    """The commands of a command that is a group of them."""
    app = import_module(f"sharpeye.cli.{name.replace('-', '_')}").app
    return [*getattr(typer.main.get_command(app), "commands", {})]


def program() -> list[str]:
    """The program that `sharpeye export --format onnx` lays beside a model, as a block of code."""
    names = {name: name for name in FORMATS["onnx"].snippets} | {
        "labels": "",
        "model": "model.onnx",
    }
    source = ExportSource(
        Path("model.onnx"), Manifest(("face", "other"), InputSpec(320, 320)), "faces"
    )
    text = fill_snippets(FORMATS["onnx"], source, names, fixed=False)["predict.py"]
    return ["```python", *text.splitlines(), "```"]


def cli_page() -> str:
    parts = [f"# The command line\n\n{NOTE}```text\n{help_of()}\n```\n"]
    for name in COMMANDS:
        for words in ((name,), *((name, each) for each in subcommands(name))):
            parts.append(f"## sharpeye {' '.join(words)}\n\n```text\n{help_of(*words)}\n```\n")
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
