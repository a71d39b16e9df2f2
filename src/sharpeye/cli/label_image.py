"""`sharpeye label-image`: the flags and the output of TensorFlow-for-Poets' label_image.py."""

import sys
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option, Typer

from sharpeye.cli.console import show
from sharpeye.cli.options import add_flags
from sharpeye.compat.frozen_graph import GraphFlags
from sharpeye.compat.label_image import DEFAULT_GRAPH, DEFAULT_LABELS, label_files
from sharpeye.core.paths import user_path
from sharpeye.errors import DataError, UsageError
from sharpeye.predict.predictor import UnreadableImage, find_images

app = Typer(add_completion=False, rich_markup_mode=None)


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
            help="A class name a line [the graph's own, else "
            f"{DEFAULT_LABELS.name} beside it, else {DEFAULT_LABELS}].",
        ),
    ] = None,
    *,
    top_k: Annotated[
        int, Option("--top_k", "--top-k", min=1, help="Number of classes to name.")
    ] = 5,
    **flags: Any,
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
    labelled, failed = 0, 0
    graph, labels = user_path(graph), labels and user_path(labels)
    for result in label_files(images, graph, GraphFlags(**flags), labels=labels, top=top_k):
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
        files = "the file" if len(images) == 1 else f"{failed} of {len(images)} files"
        raise DataError(f"{files} could not be read; {rest}")


add_flags(app, label_image, GraphFlags)
