"""`sharpeye relabel`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from sharpeye.cli import console, options
from sharpeye.core.paths import command_line

app = Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def relabel(
    data: Annotated[
        Path | None, Argument(metavar="[DIR]", help="Data set's folder [the one the table names].")
    ] = None,
    apply: Annotated[
        Path | None, Option(metavar="FIXES", help="Apply this CSV, as of `check --write-fixes`.")
    ] = None,
    copy: Annotated[
        Path | None, Option(metavar="OUT", help="Write a fixed copy, and leave DIR as it is.")
    ] = None,
    undo: Annotated[Path | None, Option(metavar="FILE", help="Undo this file's moves.")] = None,
    undo_file: Annotated[Path | None, Option(help="Undo file to write [FIXES.undo.csv].")] = None,
    quiet: options.Quiet = False,
) -> None:
    """Move images to other class folders, as a table says, here or in a copy."""
    console.start_logging(quiet=quiet)

    from sharpeye.data.moves import apply_moves, require_new_undo_file
    from sharpeye.errors import UsageError
    from sharpeye.jobs.audit.relabel import (
        copy_relabelled,
        dataset_folder,
        plan_moves,
        undo_relabelling,
    )

    if (apply is None) == (undo is None):
        raise UsageError("give either --apply FIXES or --undo FILE")
    if undo is not None:
        console.print_result(f"put back: {undo_relabelling(undo, data)} images")
    elif apply is not None:
        root = data or dataset_folder(apply)
        undo_file = undo_file or apply.with_name(f"{apply.stem}.undo.csv")
        if copy is None:
            require_new_undo_file(undo_file)  # Its moves would make the table look wrong.
        moves = plan_moves(apply, root)
        if not moves:
            console.print_result(f"nothing to do: {console.show(str(apply))} names no image")
            return
        if copy is not None:
            count = copy_relabelled(moves, root, copy)
            output = console.show(str(copy))
            console.print_result(
                f"copied:   {count} images to {output}, {len(moves)} of them relabelled"
            )
            return
        apply_moves(moves, root, undo_file)
        console.print_result(f"moved:    {len(moves)} images in {console.show(str(root))}")
        undo_command = command_line("sharpeye", "relabel", "--undo", undo_file)
        console.print_result(f"undo:     {console.show(undo_command)}")
