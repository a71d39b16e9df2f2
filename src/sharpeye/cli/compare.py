"""`sharpeye compare`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from sharpeye.cli import console, options

app = Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def compare(
    runs: Annotated[
        list[Path],
        Argument(metavar="RUN RUN...", help="Finished runs, the reference first."),
    ],
    output: Annotated[
        Path | None, Option("--output", "-o", help="Write a page and tables into this folder.")
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare runs on the test images that they have in common."""
    console.start_logging(quiet=quiet)

    import json

    from sharpeye.core.numerics import finite_or_null
    from sharpeye.jobs import compare as job
    from sharpeye.report.compare_page import headline, summary_line

    if output:
        job.require_comparison_output(output)
    comparison = job.compare(runs)
    if output:
        job.write_comparison(comparison, output)
    if as_json:
        rows = [dict(zip(comparison.columns, row, strict=True)) for row in comparison.rows]
        print(json.dumps(finite_or_null(rows), ensure_ascii=False))
        return
    width = max(len(run.name) for run in comparison.runs) + 1
    for run in comparison.runs:
        line = summary_line(comparison, run)
        console.print_result(f"{console.show(run.name + ':'):{width}} {line}")
    for run, test in zip(comparison.runs[1:], comparison.tests, strict=True):
        console.print_result(console.show(headline(comparison, run, test).replace("\u00a0", " ")))
    if output:
        console.print_result(f"report: {console.show(str(output / 'report.html'))}")
