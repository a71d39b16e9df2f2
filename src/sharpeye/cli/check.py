"""`sharpeye check`."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sharpeye.cli import console, options

if TYPE_CHECKING:
    from sharpeye.core.types import SampleSet
    from sharpeye.jobs.audit.check import CheckResult

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def check(
    data: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with one sub-folder of pictures a class.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write issues.csv, issues.json and check.html here."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Find wrong labels with a run's frozen network."),
    ] = None,
    write_fixes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="With --labels: write a CSV for `sharpeye relabel --apply`."
        ),
    ] = None,
    quarantine: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Move files that cannot be read there.")
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Skip poor pictures (dark, blurred, ...) and the features in the cache."
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="End with exit code 9 for what makes scores wrong: leaks, label conflicts, "
            "unreadable files, classes that cannot be split.",
        ),
    ] = False,
    label_from: Annotated[
        str, typer.Option(help="Source of the class names: auto, xml, folder or prefix.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
    progress_form: options.ProgressForm = "auto",
    quiet: options.Quiet = False,
) -> None:
    """Check a folder of pictures for what commonly is wrong; change nothing in it."""
    console.start_logging(quiet=quiet)

    from sharpeye.core.config import Config
    from sharpeye.errors import GateError, UsageError
    from sharpeye.jobs.audit.check import PAGE, quarantine_files, require_outside, write_check
    from sharpeye.jobs.audit.check import check as job

    if write_fixes and not labels:
        raise UsageError("--write-fixes needs --labels RUN, which finds wrong labels")
    if write_fixes and label_from not in ("auto", "folder"):
        raise UsageError(
            f"--write-fixes is for classes that are folders, as `sharpeye relabel` moves pictures "
            f"between these; with --label-from {label_from} look at issues.csv"
        )
    require_outside(output, data, "--output")
    require_outside(quarantine, data, "--quarantine")
    config = Config().replace({"data.label_from": label_from})
    with console.ProgressReporter(quiet=quiet, form=progress_form) as progress:
        result = job(data, labels=labels, quick=quick, config=config, progress=progress)
    commands = _next_commands(data, labels, write_fixes, unreadable=bool(result.unreadable))
    if output:
        write_check(output, result, commands)
    if write_fixes:
        from sharpeye.jobs.audit.relabel import write_fixes as write

        write(write_fixes, result.issues, result.samples)
    moved = 0
    if quarantine:
        moved = quarantine_files(result, quarantine)
    if as_json:
        counts = {"pictures": len(result.samples), "serious": result.serious}
        print(json.dumps(counts | {"counts": result.counts}))
    else:
        _print(result)
        for name, value in (
            ("moved", f"{moved} files to {quarantine}" if quarantine else ""),
            ("fixes", str(write_fixes or "")),
            ("report", str(output / PAGE) if output else ""),
        ):
            if value:
                print(f"{name + ':':18}{console.show(value)}")
    if strict and result.serious:
        raise GateError(
            f"{result.serious} findings in {data} make scores wrong or training impossible; "
            "mend them, or leave --strict out"
        )


_SHOWN, _SHOWN_CLASSES = 3, 20


def _print(result: "CheckResult") -> None:
    for name, value in result.summary.items():
        print(f"{name.lower() + ':':18}{console.show(value)}")
    _print_classes(result.samples)
    if not result.issues:
        print(f"{'found:':18}nothing wrong")
    for kind, count in result.counts.items():
        print(f"{kind + ':':18}{count:,}")
        issues = [issue for issue in result.issues if issue.kind == kind]
        for issue in issues[:_SHOWN]:
            related = f" ~ {issue.related}" if issue.related else ""
            print(f"    {console.show(issue.path + related)}: {console.show(issue.detail)}")
        if count > _SHOWN:
            print(f"    and {count - _SHOWN:,} more")


def _print_classes(samples: "SampleSet") -> None:
    """Print the number of pictures by class, and by split where the folder gives splits."""
    from sharpeye.data.summary import counts_by_split, splits_of

    counts, by_split = samples.count_by_class(), counts_by_split(samples)
    for name in samples.class_names[:_SHOWN_CLASSES]:
        splits = ", ".join(f"{split} {by_split[name][split]:,}" for split in splits_of(samples))
        print(f"    {counts[name]:>9,}  {console.show(name)}{f' ({splits})' if splits else ''}")
    if len(samples.class_names) > _SHOWN_CLASSES:
        print(f"    and {len(samples.class_names) - _SHOWN_CLASSES:,} more classes")


def _next_commands(
    data: Path, labels: Path | None, fixes: Path | None, *, unreadable: bool
) -> list[tuple[str, str]]:
    """(purpose, command) pairs."""
    folder = shlex.quote(str(data))
    if fixes:
        name = shlex.quote(str(fixes))
        return [
            (
                "Move pictures to the suggested classes, after you went through the table",
                f"sharpeye relabel --apply {name}",
            )
        ]
    commands = []
    if unreadable:
        command = f"sharpeye check {folder} --quarantine FOLDER"
        commands.append(("Move files that cannot be read aside", command))
    if not labels:
        commands.append(
            ("Find wrong labels with a trained run", f"sharpeye check {folder} --labels RUN")
        )
    return commands
