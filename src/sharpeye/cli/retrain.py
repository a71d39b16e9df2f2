"""`sharpeye retrain`: the flags of TensorFlow-for-Poets' retrain.py."""

from typing import Any

from typer import Typer

from sharpeye.cli import console, options
from sharpeye.compat.retrain_flags import Flags

app = Typer(add_completion=False, rich_markup_mode=None)


def retrain(
    *, quiet: options.Quiet = False, verbose: options.Verbose = False, **flags: Any
) -> None:
    """Train with the flags of TensorFlow-for-Poets' retrain.py."""
    console.start_logging(quiet=quiet, verbose=verbose)

    from sharpeye.compat.retrain import retrain as run_job

    with console.ProgressReporter(quiet=quiet) as progress:
        run = run_job(Flags(**flags), progress)
    print(f"graph:   {console.show(flags['output_graph'])}")
    print(f"labels:  {console.show(flags['output_labels'])}")
    print(f"run:     {console.show(str(run.path))}")
    print(f"report:  {console.show(str(run.path / 'report.html'))}")


options.add_flags(app, retrain, Flags)
