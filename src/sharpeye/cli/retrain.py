"""`sharpeye retrain`: the flags of TensorFlow-for-Poets' retrain.py."""

from typing import Any

from typer import Typer

from sharpeye.cli import console, options
from sharpeye.cli.signals import Signalled
from sharpeye.compat.retrain_flags import Flags
from sharpeye.errors import Stopped

app = Typer(add_completion=False, rich_markup_mode=None)

_ADVICE = (
    "an earlier graph, its labels and its run are unchanged; run the same command again: "
    "the features that were computed are kept"
)


def retrain(
    *, quiet: options.Quiet = False, verbose: options.Verbose = False, **flags: Any
) -> None:
    """Train with the flags of TensorFlow-for-Poets' retrain.py."""
    console.start_logging(quiet=quiet, verbose=verbose)

    from sharpeye.compat.retrain import retrain as run_job
    from sharpeye.jobs.train.results import RANDOM_WEIGHTS

    try:
        with console.ProgressReporter(quiet=quiet) as progress:
            run = run_job(Flags(**flags), progress)
    except Signalled as signalled:
        raise Stopped(signalled.number, _ADVICE) from None
    console.print_result(f"graph:   {console.show(flags['output_graph'])}")
    console.print_result(f"labels:  {console.show(flags['output_labels'])}")
    console.print_result(f"run:     {console.show(str(run.path))}")
    console.print_result(f"report:  {console.show(str(run.path / 'report.html'))}")
    if run.config.model.weights == "random":
        console.print_result(f"weights: {RANDOM_WEIGHTS}")


options.add_flags(app, retrain, Flags)
