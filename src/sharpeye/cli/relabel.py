"""`sharpeye relabel`."""

from pathlib import Path
from typing import Annotated

import typer

from sharpeye.cli import console, options

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def relabel(
    data: Annotated[Path, typer.Argument(metavar="DIR", help="Pictures: one sub-folder a class.")],
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
    """Move pictures to other class folders, as a table says."""
    console.start_logging(quiet=quiet)

    from sharpeye.errors import UsageError
    from sharpeye.jobs.relabel import apply_moves, copy_with, plan, undo_moves

    if (apply is None) == (undo is None):
        raise UsageError("give either --apply FIXES or --undo FILE")
    if undo is not None:
        count = undo_moves(undo, data)
        print(f"put back: {count} pictures")
        return
    if apply is None:
        return
    moves = plan(apply, data)
    if copy is not None:
        count = copy_with(moves, data, copy)
        print(f"copied:   {count} pictures to {console.show(str(copy))}, {len(moves)} relabelled")
        return
    file = undo_file or apply.with_name(f"{apply.stem}.undo.csv")
    apply_moves(moves, data, file)
    print(f"moved:    {len(moves)} pictures")
    print(f"undo:     sharpeye relabel {console.show(str(data))} --undo {console.show(str(file))}")
