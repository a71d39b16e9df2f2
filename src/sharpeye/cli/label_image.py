"""`sharpeye label-image`: the flags and the output of TensorFlow-for-Poets' label_image.py."""

import sys
from pathlib import Path
from typing import Annotated

from typer import Argument, Option, Typer

from sharpeye.cli.console import show
from sharpeye.cli.options import flag
from sharpeye.compat.frozen_graph import GraphFlags
from sharpeye.compat.label_image import DEFAULT_GRAPH, DEFAULT_LABELS, label_files
from sharpeye.errors import DataError, UsageError
from sharpeye.predict.predictor import UnreadableImage, find_images

app = Typer(add_completion=False, rich_markup_mode=None)

_SIDE = {"min": 1, "max": 4096}  # of an InputSpec
_OWN = "the graph's own, else "  # the default in help texts


@app.command()
def label_image(
    paths: Annotated[
        list[Path] | None, Argument(metavar="PATH...", help="Images, or folders of them.")
    ] = None,
    image: Annotated[
        list[Path] | None, Option(metavar="PATH", help="An image or a folder; repeatable.")
    ] = None,
    graph: Annotated[
        Path, Option(metavar="PATH", help="A run directory, its model.onnx, or a frozen graph.")
    ] = DEFAULT_GRAPH,
    labels: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help=f"A class name a line [{_OWN}{DEFAULT_LABELS.name} beside it, else "
            f"{DEFAULT_LABELS}].",
        ),
    ] = None,
    input_height: Annotated[
        int | None, flag("input_height", f"Pixels [{_OWN}299 for Mul, else 224].", **_SIDE)
    ] = None,
    input_width: Annotated[int | None, flag("input_width", "Pixels, likewise.", **_SIDE)] = None,
    input_mean: Annotated[
        float | None, flag("input_mean", f"It takes (grey level 0..255 - mean) / std [{_OWN}128].")
    ] = None,
    input_std: Annotated[float | None, flag("input_std", f"See --input_mean [{_OWN}128].")] = None,
    input_layer: Annotated[
        str | None,
        flag("input_layer", f"A node [{_OWN}input, Mul or the only placeholder].", metavar="NODE"),
    ] = None,
    output_layer: Annotated[
        str | None,
        flag("output_layer", f"A node [{_OWN}final_result or the last Softmax].", metavar="NODE"),
    ] = None,
    top_k: Annotated[int, flag("top_k", "Number of classes to name.", min=1)] = 5,
) -> None:
    """Classify images, as TensorFlow-for-Poets' label_image.py does."""
    sources = [*(image or []), *(paths or [])]
    if not sources:
        raise UsageError(
            "an image is required: sharpeye label-image --graph GRAPH IMAGE, or --image IMAGE"
        )
    images = list(find_images(sources))
    if not images:
        names = ", ".join(map(str, sources))
        raise DataError(f"no images in {names}; give images, or folders")
    flags = GraphFlags(input_height, input_width, input_mean, input_std, input_layer, output_layer)
    labelled, failed = 0, 0
    for result in label_files(images, graph, flags, labels=labels, top=top_k):
        if isinstance(result, UnreadableImage):
            failed += 1
            print(show(f"{result.path}: cannot read: {result.error}"), file=sys.stderr)
            continue
        if len(images) > 1:
            print(*([""] if labelled else []), show(result.path), sep="\n")
        print(f"\nEvaluation time (1-image): {result.seconds:.3f}s\n")
        for label, score in result.top:
            print(f"{show(label)} (score={score:0.5f})")
        labelled += 1
    if failed:
        rest = "the others are answered" if labelled else "there is nothing to answer"
        raise DataError(f"{failed} of {len(images)} files could not be read; {rest}")
