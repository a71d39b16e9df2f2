"""`sharpeye check`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option, Typer

from sharpeye.cli import console, options
from sharpeye.core.formatting import counted
from sharpeye.core.paths import command_line
from sharpeye.core.standard_streams import write_as_utf8

if TYPE_CHECKING:
    from sharpeye.jobs.audit.check import CheckResult

app = Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def check(
    data: options.DataArgument,
    output: Annotated[
        Path | None,
        Option("--output", "-o", help="Write issues.csv, issues.json and check.html here."),
    ] = None,
    labels: Annotated[
        Path | None, Option(metavar="RUN", help="Find wrong labels with a run's frozen network.")
    ] = None,
    write_fixes: Annotated[
        Path | None, Option(metavar="FILE", help="With --labels: a CSV for `sharpeye relabel`.")
    ] = None,
    quarantine: Annotated[
        Path | None, Option(metavar="FOLDER", help="Move files that cannot be read there.")
    ] = None,
    quick: Annotated[
        bool, Option("--quick", help="Skip image quality (dark, blurred, ...) and cached features.")
    ] = False,
    strict: Annotated[
        bool,
        Option(
            "--strict",
            help="End with exit code 9 for what makes scores wrong: leaks, label conflicts, "
            "unreadable files, classes that cannot be split.",
        ),
    ] = False,
    label_from: Annotated[str, Option(help="Class names: auto, xml, folder or prefix.")] = "auto",
    splits: options.Splits = None,
    as_json: options.Json = False,
    progress_form: options.ProgressForm = "auto",
    max_megapixels: options.MaxMegapixels = None,
    max_decode_memory: options.MaxDecodeMemory = None,
    quiet: options.Quiet = False,
) -> None:
    """Check a folder of images for common problems, without changing it."""
    console.start_logging(quiet=quiet)

    from sharpeye.core.config import Config
    from sharpeye.core.paths import require_outside
    from sharpeye.errors import GateError, UsageError
    from sharpeye.jobs.audit.check import PAGE, quarantine_files, write_check
    from sharpeye.jobs.audit.check import check as job

    if write_fixes and not labels:
        raise UsageError("--write-fixes needs --labels RUN, which finds wrong labels")
    if write_fixes and label_from not in ("auto", "folder"):
        raise UsageError(
            "--write-fixes is for classes that are folders, as `sharpeye relabel` moves images "
            f"between these; with --label-from {label_from} look at issues.csv"
        )
    require_outside(output, data, "--output")
    require_outside(quarantine, data, "--quarantine")
    changes = {"data.label_from": label_from, "data.splits": options.parse_list(splits) or []}
    config = Config().replace(changes)
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
        write_as_utf8()
        counts = {"pictures": len(result.samples), "serious": result.serious}
        print(json.dumps(counts | {"counts": result.counts}))
    else:
        _print(result)
        for name, value in (
            ("moved", f"{counted(moved, 'file')} to {quarantine}" if quarantine else ""),
            ("fixes", str(write_fixes or "")),
            ("report", str(output / PAGE) if output else ""),
        ):
            if value:
                console.print_result(f"{name + ':':18}{console.show(value)}")
    if strict and result.serious:
        raise GateError(
            f"{result.serious} findings in {data} make scores wrong or training impossible; "
            "mend them, or leave --strict out"
        )


_SHOWN, _SHOWN_CLASSES = 3, 20


def _print(result: "CheckResult") -> None:
    from sharpeye.data.summary import counts_by_split, splits_of

    for name, value in result.summary.items():
        console.print_result(f"{name.lower() + ':':18}{console.show(value)}")
    samples = result.samples
    counts, by_split = samples.count_by_class(), counts_by_split(samples)
    for name in samples.class_names[:_SHOWN_CLASSES]:
        splits = ", ".join(f"{split} {by_split[name][split]:,}" for split in splits_of(samples))
        console.print_result(
            f"    {counts[name]:>9,}  {console.show(name)}{f' ({splits})' if splits else ''}"
        )
    if len(samples.class_names) > _SHOWN_CLASSES:
        console.print_result(f"    and {len(samples.class_names) - _SHOWN_CLASSES:,} more classes")
    if not result.issues:
        console.print_result(f"{'found:':18}nothing wrong")
    for kind, count in result.counts.items():
        console.print_result(f"{kind + ':':18}{count:,}")
        issues = [issue for issue in result.issues if issue.kind == kind]
        for issue in issues[:_SHOWN]:
            related = f" ~ {issue.related}" if issue.related else ""
            console.print_result(
                f"    {console.show(issue.path + related)}: {console.show(issue.detail)}"
            )
        if count > _SHOWN:
            console.print_result(f"    and {count - _SHOWN:,} more")


def _next_commands(
    data: Path, labels: Path | None, fixes: Path | None, *, unreadable: bool
) -> list[tuple[str, str]]:
    """(purpose, command) pairs."""
    if fixes:
        purpose = "Move images to the suggested classes, after you went through the table"
        return [(purpose, command_line("sharpeye", "relabel", "--apply", fixes))]
    check_again = command_line("sharpeye", "check", data)
    commands = []
    if unreadable:
        purpose = "Move files that cannot be read aside"
        commands.append((purpose, f"{check_again} --quarantine FOLDER"))
    if not labels:
        commands.append(("Find wrong labels with a trained run", f"{check_again} --labels RUN"))
    return commands
