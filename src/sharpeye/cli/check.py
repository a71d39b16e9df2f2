"""`sharpeye check`."""

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from sharpeye.cli import console, options

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def check(
    data: Annotated[Path, typer.Argument(metavar="DIR", help="Pictures: one sub-folder a class.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write issues.csv, issues.json and check.html here.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Find wrong labels with a run's frozen network.", show_default=False
        ),
    ] = None,
    write_fixes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --labels: a CSV for `sharpeye relabel --apply`.",
            show_default=False,
        ),
    ] = None,
    quarantine: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Move files that cannot be read there.", show_default=False
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Leave out what only looks odd (dark, blurred, ...) and cached features.",
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="End with exit code 9 if scores would be wrong: leaks, label conflicts, "
            "unreadable files, classes that cannot be split.",
        ),
    ] = False,
    label_from: Annotated[
        str, typer.Option(help="What names the class: auto, xml, folder or prefix.")
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
    progress_form: options.ProgressForm = "auto",
    quiet: options.Quiet = False,
) -> None:
    """Look for what is wrong with a folder of pictures; nothing in it is changed."""
    console.start_logging(quiet=quiet)

    from sharpeye.core.config import Config
    from sharpeye.errors import GateError, UsageError
    from sharpeye.jobs.audit.check import PAGE, require_outside, write_check
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
    with console.Progress(quiet=quiet, form=progress_form) as progress:
        checked = job(data, labels=labels, quick=quick, config=config, progress=progress)
    commands = _next(data, labels, write_fixes, bad=bool(checked.bad))
    if output:
        write_check(output, checked, commands)
    if write_fixes:
        from sharpeye.jobs.audit.label_errors import write_fixes as write

        write(write_fixes, checked.issues, checked.samples)
    moved = _set_aside(checked, quarantine)
    if as_json:
        counts = {"pictures": len(checked.samples), "serious": checked.serious}
        print(json.dumps(counts | {"counts": checked.counts}))
    else:
        _print(checked)
        for name, value in (
            ("moved", f"{moved} files to {quarantine}" if quarantine else ""),
            ("fixes", str(write_fixes or "")),
            ("report", str(output / PAGE) if output else ""),
        ):
            if value:
                print(f"{name + ':':18}{console.show(value)}")
    if strict and checked.serious:
        raise GateError(
            f"{checked.serious} findings in {data} make scores wrong or training impossible; "
            "mend them, or leave --strict out"
        )


def _set_aside(checked: Any, folder: Path | None) -> int:
    if not folder:
        return 0
    from sharpeye.jobs.audit.quarantine import quarantine_files

    return len(quarantine_files(checked, folder))


_SHOWN, _SHOWN_CLASSES = 3, 20


def _print(checked: Any) -> None:
    for name, value in checked.facts.items():
        print(f"{name.lower() + ':':18}{console.show(value)}")
    _print_classes(checked.samples)
    if not checked.issues:
        print(f"{'found:':18}nothing wrong")
    for kind, count in checked.counts.items():
        own = [issue for issue in checked.issues if issue.kind == kind]
        print(f"{kind + ':':18}{count:,}")
        for issue in own[:_SHOWN]:
            other = f" ~ {issue.related}" if issue.related else ""
            print(f"    {console.show(issue.path + other)}: {console.show(issue.detail)}")
        if count > _SHOWN:
            print(f"    and {count - _SHOWN:,} more")


def _print_classes(samples: Any) -> None:
    """Pictures by class, and by part where the folder gives parts."""
    from sharpeye.data.summary import counts_by_split, splits_of

    counts, by_part = samples.count_by_class(), counts_by_split(samples)
    for label in samples.class_names[:_SHOWN_CLASSES]:
        parts = ", ".join(f"{part} {by_part[label][part]:,}" for part in splits_of(samples))
        print(f"    {counts[label]:>9,}  {console.show(label)}{f' ({parts})' if parts else ''}")
    if len(samples.class_names) > _SHOWN_CLASSES:
        print(f"    and {len(samples.class_names) - _SHOWN_CLASSES:,} more classes")


def _next(
    data: Path, labels: Path | None, fixes: Path | None, *, bad: bool
) -> list[tuple[str, str]]:
    """(what it does, command) pairs."""
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
    if bad:
        command = f"sharpeye check {folder} --quarantine FOLDER"
        commands.append(("Move files that cannot be read aside", command))
    if not labels:
        commands.append(
            ("Find wrong labels with a trained run", f"sharpeye check {folder} --labels RUN")
        )
    return commands
