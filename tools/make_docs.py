"""Writes the pages of docs/ that follow from the code; `--check` says if they are up to date."""

import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import typer

from sharpeye import errors
from sharpeye.artefact.export.export_formats import FORMATS, ExportSource
from sharpeye.artefact.export.snippets import fill_snippets
from sharpeye.artefact.manifest import Manifest
from sharpeye.cli.app import COMMANDS
from sharpeye.core.config import describe
from sharpeye.core.types import InputSpec

ROOT = Path(__file__).parent.parent
DOCS, RESULTS = ROOT / "docs", ROOT / "bench" / "results"
ROWS = (
    ("train_cold", "seconds", " s", "`train` on 141 images, whole process, empty caches"),
    ("train_warm", "seconds", " s", "the same with warm caches"),
    ("predict_one", "seconds", " s", "`predict` of one image, whole process"),
    (
        "retrain_cold",
        "seconds",
        " s",
        "`retrain`, 1,000 images, MobileNet 0.50, 4,000 steps, cold",
    ),
    ("retrain_warm", "seconds", " s", "the same with warm caches"),
    ("inception", "images_per_second", "", "Inception v3's features, images a second"),
    ("features", "ratio", "", "features of 1,000 JPEGs of 330 x 250 over a bare runtime loop"),
    ("features_large", "ratio", "", "the same, JPEGs of 520 x 390"),
)
SCRATCH_ROWS = (
    ("scratch_lenet5_over_keras", "LeNet-5, 32 px, batch 32: images a second over Keras' `fit`"),
    ("scratch_lenet5_over_torch", "the same over a PyTorch loop (channels last, fused Adam)"),
    ("scratch_cnn_over_keras", "CNN of 3 x 64, 50 px grey, batch 32, over Keras' `fit`"),
    ("scratch_cnn_over_torch", "the same over a PyTorch loop"),
    ("scratch_mobilenet_v2_1.0_96_over_keras", "MobileNetV2, 96 px, batch 32, over Keras' `fit`"),
)
SERVE_ROWS = (
    ("serve_latency", "one image over HTTP over the bare model and decoding, median latency"),
    ("serve_throughput", "16 clients over HTTP over a bare runtime loop, images a second"),
)
RECIPE_ROWS = ("fashion_lenet5", "fashion_10min", "fashion_45min")
LOCALIZER_HEAD = (
    "| network | images to learn from, validate, test | right class | mean IoU "
    "| right class and IoU >= 0.5 | >= 0.75 | whole process |",
    "|---|---|---|---|---|---|---|",
)
NOTE = "<!-- Written by `make docs`; edit the code instead. -->\n\n"


def main() -> int:
    pages = {
        DOCS / "cli.md": cli_page(),
        DOCS / "config.md": config_page(),
        DOCS / "exit-codes.md": errors_page(),
        DOCS / "performance.md": with_measurements(DOCS / "performance.md"),
        DOCS / "checking.md": with_measurements(DOCS / "checking.md"),
        DOCS / "model-file.md": with_measurements(DOCS / "model-file.md"),
        ROOT / "README.md": with_measurements(ROOT / "README.md"),
    }
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


def with_measurements(page: Path) -> str:
    """The page, with the table between its `measured` marks as `bench/results/` has it."""
    rows = [measured_row(*row) for row in ROWS]
    rows += [
        measured_row(name, "ratio", "", text)
        for name, text in (*SCRATCH_ROWS, *SERVE_ROWS)
        if visited(name)
    ]
    tables = {
        "measured": ["| work | median | goal | range, n |", "|---|---|---|---|", *rows],
        "recipes": [
            "| recipe | test accuracy, 10,000 images | whole process | goal |",
            "|---|---|---|---|",
            *[recipe_row(name) for name in RECIPE_ROWS if visited(name)],
        ],
        "localizers": localizer_table(),
        "grid": grid_table(),
        "checks": check_table(),
        "program": program(),
        "same answers": same_predictions_table(),
    }
    text = read(page)
    for name, lines in tables.items():
        marks = rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- /{name} -->)"
        table = "\n".join(lines)
        text = re.sub(marks, rf"\g<1>\n{table}\n\n\g<2>", text, flags=re.S)
    return text


def visited(name: str) -> bool:
    """Whether it was measured: what was not is not in the tables."""
    return (RESULTS / f"{name}.json").exists()


def measured_row(name: str, value: str, unit: str, text: str) -> str:
    result = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    found = result[value]
    between = f"{found['min']:.2f} to {found['max']:.2f}, n = {found['n']}"
    return f"| {text} | **{found['median']:.2f}{unit}** | {result['goal']}{unit} | {between} |"


def grid_table() -> list[str]:
    if not visited("grid_of_27"):
        return []
    found = json.loads((RESULTS / "grid_of_27.json").read_text(encoding="utf-8"))
    tested, images = found["test_accuracy"], found["test_accuracy"]["pictures"]
    return [
        f"| 27 networks | seconds | winner | its accuracy on {images:,} test images |",
        "|---|---|---|---|",
        *(
            f"| {text} | {found['seconds'][who]:.0f} "
            f"| `{found['winner'][who]}` | {tested[who]:.1%} |"
            for who, text in (
                ("sharpeye", "`sharpeye sweep --retrain`"),
                ("keras", "plain Keras fits, one after the other"),
            )
        ),
    ]


def recipe_row(name: str) -> str:
    result = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    low, high = result["accuracy_ci95"]
    return (
        f"| `{name.replace('_', '-')}` | **{result['accuracy']:.2%}** ({low:.1%} to {high:.1%}) "
        f"| {result['seconds']:.0f} s | {result['goal']} |"
    )


def check_table() -> list[str]:
    """What `bench.faults`, `bench.labels` and `bench.check` found, those that were run."""
    rows = [
        row for name in CHECK_ROWS if visited(name) for row in CHECK_ROWS[name](result_of(name))
    ]
    return ["| what was tried | found | goal |", "|---|---|---|", *rows]


def result_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def fault_rows(result: dict[str, Any]) -> list[str]:
    worst, goal = result["worst"], result["goal"]
    what = f"20 faults in {result['pictures']} images, worst of {len(result['seeds'])} draws"
    return [
        f"| {what} | **{worst['found']}** by name | {goal['found']} |",
        f"| the same: false alarms | **{worst['false_alarms']}** | {goal['false_alarms']} |",
        f"| the same: copies in another part than their original | **{worst['straddling']}** "
        f"| {goal['straddling']} |",
    ]


def label_rows(result: dict[str, Any]) -> list[str]:
    worst, seeds = result["worst"], result["seeds"]
    what = (
        f"5 % of the labels of {result['pictures']:,} digits flipped, worst of {len(seeds)} draws"
    )
    gains = [
        f"{sum(one[f'{when}_true'] for one in seeds) / len(seeds):.1%}"
        for when in ("before", "after")
    ]
    return [
        f"| {what}: flipped ones in the first 7 % of the list "
        f"| **{worst['share_in_first_7_percent']:.0%}** | >= 80 % |",
        "| the same: gain in test accuracy, by the labels that the folder then has "
        f"| **{worst['gain_by_given_labels']:.1%}** | >= 0 |",
        f"| the same: gain in accuracy by true labels after all fixes (mean {gains[0]} to "
        f"{gains[1]}) | **{worst['gain_by_true_labels']:.1%}** | >= 0 |",
    ]


def speed_rows(result: dict[str, Any]) -> list[str]:
    runs = result["runs"]
    times = " and ".join(
        f"{1000 * run['cpu_seconds'] / run['pictures']:.2f} ms for {run['pictures']:,}"
        for run in runs
    )
    return [
        f"| `check --quick`, generated images of 96 x 72, processor time an image: {times} "
        f"| ratio **{result['time_a_picture_ratio']:.2f}** | <= 1.2 |",
        f"| the same: memory for {runs[-1]['pictures']:,} | **{runs[-1]['peak_mib']:.0f} MiB** "
        "| <= 1,024 MiB |",
    ]


CHECK_ROWS = {"faults": fault_rows, "labels": label_rows, "check": speed_rows}


def localizer_table() -> list[str]:
    """A row for each set and network that `bench.localize` was run with; one line if none was."""
    rows = [localizer_row(file.stem) for file in sorted(RESULTS.glob("localize_*.json"))]
    return [*LOCALIZER_HEAD, *rows] if rows else ["Not measured yet."]


def localizer_row(name: str) -> str:
    result = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    images, seconds = result["pictures"], result["seconds"]
    counts = ", ".join(f"{images[part]:,}" for part in ("train", "validation", "test"))
    low, high = result["mean_iou_ci95"]
    shares = [with_interval(result, f"accuracy{end}") for end in ("", "_at_iou50", "_at_iou75")]
    how = f"from scratch in {result['time_limit']}" if result["from_scratch"] else "frozen"
    times = "; ".join(f"{kind} {seconds_of(found)}" for kind, found in seconds.items())
    return (
        f"| `{result['model']}`, {how} | {result['set']}: {counts} | {shares[0]} "
        f"| **{result['mean_iou']:.3f}** ({low:.3f} to {high:.3f}) | {shares[1]} | {shares[2]} "
        f"| {times} |"
    )


def seconds_of(found: dict[str, float]) -> str:
    between = f"{found['min']:.1f} to {found['max']:.1f}, n = {found['n']}"
    return f"{found['median']:.1f} s ({between})"


def with_interval(result: dict[str, Any], score: str) -> str:
    low, high = result[f"{score}_ci95"]
    return f"{result[score]:.1%} ({low:.1%} to {high:.1%})"


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


def same_predictions_table() -> list[str]:
    """A row for each way of asking; one line if `bench.same_answers` was not run."""
    if not visited("same_answers"):
        return ["Not measured yet."]
    result = json.loads((RESULTS / "same_answers.json").read_text(encoding="utf-8"))
    rows = [
        f"| {method} | {found['max_difference']:.6f} | {found['over']} of {found['pictures']} "
        f"| {found['top1_agreement']:.1%} |"
        for method, found in result["ways"].items()
    ]
    return [
        "| way | largest difference of a probability | images over 0.001 | same top class |",
        "|---|---|---|---|",
        *rows,
    ]


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
