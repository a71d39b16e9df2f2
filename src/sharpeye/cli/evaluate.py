"""`sharpeye evaluate`."""

import json
from pathlib import Path
from typing import Annotated

from typer import Option, Typer

from sharpeye.cli import console, options
from sharpeye.core.standard_streams import write_as_utf8

app = Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def evaluate(
    model: options.ModelArgument,
    data: options.DataArgument,
    output: Annotated[Path | None, Option("--output", "-o", help="Write a report here.")] = None,
    min_accuracy: Annotated[
        float | None, Option(min=0, max=1, help="End with exit code 9 below this accuracy.")
    ] = None,
    as_json: options.Json = False,
    max_megapixels: options.MaxMegapixels = None,
    max_decode_memory: options.MaxDecodeMemory = None,
    quiet: options.Quiet = False,
) -> None:
    """Score a model on labelled images."""
    console.start_logging(quiet=quiet)

    from sharpeye.core.formatting import plain_percent
    from sharpeye.errors import GateError
    from sharpeye.jobs.evaluate import evaluate as job
    from sharpeye.jobs.evaluate import write_evaluation
    from sharpeye.report.wording import box_line

    with console.ProgressReporter(quiet=quiet) as progress:
        evaluation, samples, seconds = job(model, data, progress=progress)
    scores = evaluation.metrics
    if output:
        write_evaluation(output, model, evaluation, dataset=samples, seconds=seconds)
    if as_json:
        write_as_utf8()
        print(json.dumps(scores, ensure_ascii=False))
    else:
        low, high = (plain_percent(end) for end in scores["accuracy_ci95"])
        print(
            f"accuracy: {plain_percent(scores['accuracy'])} of {scores['count']} images, "
            f"95 % interval {low} to {high}"
        )
        if "mean_iou" in scores:
            print(f"boxes:    {box_line(scores)}")
        if samples.rejected:
            print(f"left out: {len(samples.rejected)} files that cannot be read")
        if output:
            print(f"report:   {output / 'report.html'}")
    if min_accuracy is not None and scores["accuracy"] < min_accuracy:
        raise GateError(
            f"accuracy {scores['accuracy']:.4f} is below the {min_accuracy:g} that was asked"
        )
