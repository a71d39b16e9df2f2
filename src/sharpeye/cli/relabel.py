"""`sharpeye relabel`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from sharpeye.cli import console, options

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def relabel(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]",
            help="Pictures: one sub-folder a class; by default those that the table is of.",
            show_default=False,
        ),
    ] = None,
    apply: Annotated[
        Path | None,
        typer.Option(
            metavar="FIXES",
            help="A CSV with path, label, new_label, as `sharpeye check --write-fixes` writes it.",
            show_default=False,
        ),
    ] = None,
    copy: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT",
            help="Leave DIR as it is, and write a copy with the fixes.",
            show_default=False,
        ),
    ] = None,
    undo: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Put back what was moved.", show_default=False),
    ] = None,
    undo_file: Annotated[
        Path | None,
        typer.Option(help="Where to write the undo file [FIXES.undo.csv].", show_default=False),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Move pictures to other class folders, as a table says, or copy the set with them moved."""
    console.start_logging(quiet=quiet)

    from sharpeye.errors import UsageError
    from sharpeye.jobs.audit.relabel import (
        apply_moves,
        copy_relabelled,
        dataset_folder,
        plan_moves,
        undo_moves,
    )

    if (apply is None) == (undo is None):
        raise UsageError("give either --apply FIXES or --undo FILE")
    if undo is not None:
        count = undo_moves(undo, data or dataset_folder(undo))
        print(f"put back: {count} pictures")
    elif apply is not None:
        root = data or dataset_folder(apply)
        moves = plan_moves(apply, root)
        if copy is not None:
            count = copy_relabelled(moves, root, copy)
            place = console.show(str(copy))
            print(f"copied:   {count} pictures to {place}, {len(moves)} of them relabelled")
            return
        file = undo_file or apply.with_name(f"{apply.stem}.undo.csv")
        apply_moves(moves, root, file)
        print(f"moved:    {len(moves)} pictures in {console.show(str(root))}")
        print(f"undo:     sharpeye relabel --undo {console.show(shlex.quote(str(file)))}")
