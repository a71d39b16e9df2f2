"""`sharpeye evaluate`."""

import json
import sys
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
    label_from: Annotated[
        str | None,
        Option(
            metavar="SOURCE",
            help="Where the class of an image is read: folder, prefix (of the file's name) or xml "
            "(Pascal VOC); by default where training read it.",
        ),
    ] = None,
    min_accuracy: Annotated[
        float | None,
        Option(
            min=0,
            max=1,
            help="End with exit code 9 if the accuracy on images that the model was not trained on "
            "is below this.",
        ),
    ] = None,
    as_json: options.Json = False,
    max_megapixels: options.MaxMegapixels = None,
    max_decode_memory: options.MaxDecodeMemory = None,
    quiet: options.Quiet = False,
) -> None:
    """Score a model on labelled images that it was not trained on."""
    console.start_logging(quiet=quiet)

    from sharpeye.core.formatting import counted, name_list
    from sharpeye.errors import GateError
    from sharpeye.jobs.evaluate import evaluate as job
    from sharpeye.jobs.evaluate import evaluation_record, run_test_metrics, write_evaluation
    from sharpeye.jobs.evaluation_output import require_evaluation_output
    from sharpeye.report.exposure_wording import accuracy_line, exposure_lines
    from sharpeye.report.wording import box_line

    if output:
        require_evaluation_output(output, Path(data))
    with console.ProgressReporter(quiet=quiet) as progress:
        evaluation, samples, seconds = job(model, data, label_from=label_from, progress=progress)
    scores = evaluation.metrics
    if output:
        write_evaluation(output, model, evaluation, dataset=samples, seconds=seconds)
    reasons = [f"{item.path} ({item.reason})" for item in samples.rejected]
    left_out = (
        f"left out: {counted(len(reasons), 'file')} that cannot be read: {name_list(reasons)}"
    )
    left_out = console.show(left_out)
    if as_json:
        if reasons:
            print(left_out, file=sys.stderr)
        record = evaluation_record(evaluation)
        write_as_utf8()
        print(json.dumps(record.pop("test") | record, ensure_ascii=False))
    else:
        run_test = None if scores["count"] else run_test_metrics(model)
        console.print_result(f"accuracy: {accuracy_line(evaluation, run_test)}")
        for line in exposure_lines(evaluation):
            console.print_result(line)
        if scores["count"] and "mean_iou" in scores:
            console.print_result(f"boxes:    {box_line(scores)}")
        if reasons:
            console.print_result(left_out)
        if output:
            console.print_result(f"report:   {output / 'report.html'}")
    if min_accuracy is not None and not scores["count"]:
        raise GateError(
            "the accuracy on new images is unknown, since the model was trained on all of these; "
            f"give others to see whether it is {min_accuracy:g} or more"
        )
    if min_accuracy is not None and scores["accuracy"] < min_accuracy:
        raise GateError(
            f"accuracy {scores['accuracy']:.4f} is below the {min_accuracy:g} that was asked"
        )
