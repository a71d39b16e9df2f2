"""`sharpeye predict`."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sharpeye.cli import options
from sharpeye.errors import DataError, UsageError
from sharpeye.predict.output_paths import ImageWriter, predict_and_write
from sharpeye.predict.predictor import Model, UnreadableImage, find_images, load
from sharpeye.predict.writers import open_writer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class Format(StrEnum):
    """How answers are written."""

    text = "text"
    jsonl = "jsonl"
    csv = "csv"


@app.command()
def predict(
    model: options.ModelArgument,
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Pictures, or folders of them.")
    ],
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 5,
    form: Annotated[Format, typer.Option("--format", help="text, jsonl or csv.")] = Format.text,
    coverage: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of known pictures not to be called unknown [the model's own].",
            show_default=False,
        ),
    ] = None,
    draw: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write each picture here with its class, score and box on it.",
            show_default=False,
        ),
    ] = None,
    write_voc: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write a Pascal VOC file a picture here, to be corrected by hand.",
            show_default=False,
        ),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write each picture here with a heat map: where the model saw its class.",
            show_default=False,
        ),
    ] = None,
    explain_class: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="Let --explain show this class.", show_default=False),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Let --draw, --write-voc and --explain replace files."),
    ] = False,
) -> None:
    """Say what is in pictures, and where."""
    if explain_class is not None and not explain:
        raise UsageError("--explain-class needs --explain DIR: the folder for the heat maps")
    if explain and draw and explain.resolve() == draw.resolve():
        raise UsageError(
            f"--draw and --explain write files of the same names; give them folders of their own. "
            f"Received: {draw} for both"
        )
    opened = load(model, coverage)
    sinks = _sinks(opened, paths, draw, write_voc, overwrite=overwrite)
    if explain:
        from sharpeye.predict.heat_maps import HeatMaps

        sinks.append(HeatMaps(opened, explain, paths, label=explain_class, overwrite=overwrite))
        if not opened.has_heat:
            _tell_of_occlusion()
    write = open_writer(form.value, sys.stdout, boxes=opened.localizes)
    answered, failed = 0, 0
    for answer in predict_and_write(opened, find_images(paths), top, sinks):
        write(answer)
        answered += 1
        failed += isinstance(answer, UnreadableImage)
    _tell(sinks)
    if not answered:
        raise DataError(f"no pictures in {', '.join(map(str, paths))}; give pictures, or folders")
    if failed:
        raise DataError(f"{failed} of {answered} files could not be read; the others are answered")


def _sinks(
    model: Model, paths: list[Path], draw: Path | None, write_voc: Path | None, *, overwrite: bool
) -> list[ImageWriter]:
    sinks: list[ImageWriter] = []
    # Imported here: an answer alone needs neither fonts nor XML.
    if write_voc:
        from sharpeye.predict.voc_files import Annotations

        sinks.append(Annotations(model, write_voc, paths, overwrite=overwrite))
    if draw:
        from sharpeye.predict.draw import Drawings

        sinks.append(Drawings(draw, paths, overwrite=overwrite))
    return sinks


def _tell_of_occlusion() -> None:
    from sharpeye.predict.explain import ANSWERS_A_MAP

    print(
        "this model's file holds no heat maps: each is made of "
        f"{ANSWERS_A_MAP} answers, with another part of the picture covered",
        file=sys.stderr,
    )


def _tell(sinks: list[ImageWriter]) -> None:
    kept = sum(sink.places.kept for sink in sinks)
    clashes = sum(sink.places.clashes for sink in sinks)
    if kept:
        print(f"kept: {kept} files that were there already; --overwrite replaces", file=sys.stderr)
    if clashes:
        print(
            f"not written: {clashes} files whose name another picture's has; rename the pictures",
            file=sys.stderr,
        )
