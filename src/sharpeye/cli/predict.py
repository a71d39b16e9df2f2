"""`sharpeye predict`."""

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option, Typer

from sharpeye.cli import options
from sharpeye.core.formatting import counted
from sharpeye.core.standard_streams import write_as_utf8
from sharpeye.data.file_walk import describe_ignored
from sharpeye.errors import DataError, UsageError
from sharpeye.predict.output_paths import ImageWriter, predict_and_write
from sharpeye.predict.predictor import UnreadableImage, find_images, load
from sharpeye.predict.writers import open_writer

app = Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def predict(
    model: options.ModelArgument,
    paths: Annotated[list[Path], Argument(metavar="PATH...", help="Images, or folders of them.")],
    top: Annotated[
        int | None,
        Option(min=1, help="Number of classes to name [5; csv: 1, more as label_2, score_2, ...]."),
    ] = None,
    form: Annotated[
        Literal["text", "jsonl", "csv"], Option("--format", help="Output format.")
    ] = "text",
    coverage: Annotated[
        float | None,
        Option(min=0, max=1, help="Share of known images not called unknown [the model's own]."),
    ] = None,
    draw: Annotated[
        Path | None, Option(metavar="DIR", help="Write images with class, score and box on them.")
    ] = None,
    write_voc: Annotated[
        Path | None, Option(metavar="DIR", help="Write a Pascal VOC file of each image to correct.")
    ] = None,
    explain: Annotated[
        Path | None, Option(metavar="DIR", help="Write each image with a heat map of its evidence.")
    ] = None,
    explain_class: Annotated[
        str | None, Option(metavar="LABEL", help="Class for --explain [the predicted one].")
    ] = None,
    max_megapixels: options.MaxMegapixels = None,
    max_decode_memory: options.MaxDecodeMemory = None,
    overwrite: Annotated[
        bool, Option("--overwrite", help="Let --draw, --write-voc and --explain replace files.")
    ] = False,
) -> None:
    """Classify images; a localizer also gives the object's box."""
    if explain_class is not None and not explain:
        raise UsageError("--explain-class needs --explain DIR: the folder for the heat maps")
    if explain and draw and explain.resolve() == draw.resolve():
        raise UsageError(
            f"--draw and --explain write files of the same names; give them folders of their own. "
            f"Received: {draw} for both"
        )
    opened = load(model, coverage)
    writers: list[ImageWriter] = []
    if write_voc or draw or explain:
        from sharpeye.predict import image_writers  # plain predictions need neither fonts nor XML

        if write_voc:
            writers.append(image_writers.voc_writer(opened, write_voc, paths, overwrite=overwrite))
        if draw:
            writers.append(image_writers.drawing_writer(opened, draw, paths, overwrite=overwrite))
        if explain:
            writers.append(
                image_writers.heat_map_writer(
                    opened, explain, paths, label=explain_class, overwrite=overwrite
                )
            )
    if explain and not opened.has_heat:
        _announce_occlusion()
    if form != "text":
        write_as_utf8()
    top = top or (1 if form == "csv" else 5)
    columns = min(top, len(opened.labels))
    write = open_writer(form, sys.stdout, boxes=opened.localizes, top=columns)
    count, failed = 0, 0
    ignored: Counter[str] = Counter()
    for result in predict_and_write(opened, find_images(paths, ignored), writers, top=top):
        write(result)
        count += 1
        failed += isinstance(result, UnreadableImage)
    _report_missing_files(writers)
    if ignored:
        print(f"left out, as no images: {describe_ignored(ignored)}", file=sys.stderr)
    if not count:
        raise DataError(f"no images in {', '.join(map(str, paths))}; give images, or folders")
    if failed == count == 1 and isinstance(result, UnreadableImage):
        raise DataError(f"cannot read {result.path}: {result.error}")
    if failed == count:
        raise DataError(f"none of the {count} files could be read")
    if failed:
        raise DataError(f"{failed} of {count} files could not be read; the others are answered")


def _announce_occlusion() -> None:
    from sharpeye.predict.explain import RUNS_PER_MAP

    print(
        f"this model's file holds no heat maps: each takes {RUNS_PER_MAP} predictions, "
        "with another part of the image covered",
        file=sys.stderr,
    )


def _report_missing_files(writers: list[ImageWriter]) -> None:
    existing = sum(writer.paths.existing for writer in writers)
    clashes = sum(writer.paths.clashes for writer in writers)
    if existing:
        files = counted(existing, "file")
        print(f"kept: {files} that were there already; --overwrite replaces", file=sys.stderr)
    if clashes:
        files = counted(clashes, "file")
        print(
            f"not written: {files} whose name another image's has; rename the images",
            file=sys.stderr,
        )
