"""`sharpeye retrain`: the flags of TensorFlow-for-Poets' retrain.py."""

import inspect
from dataclasses import Field, fields
from typing import Annotated, Any

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


def _parameter(field: "Field[Any]") -> inspect.Parameter:
    short = ("-o",) if field.name == "output" else ()
    annotation: Any = Annotated[
        field.type, options.flag(field.name, field.metadata["help"], *short)
    ]
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(field.name, kind, default=field.default, annotation=annotation)


# Typer reads a command's options from its signature: each field of `Flags` becomes one.
_general = inspect.signature(retrain).parameters
retrain.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [*map(_parameter, fields(Flags)), _general["quiet"], _general["verbose"]]
)
app.command()(retrain)
