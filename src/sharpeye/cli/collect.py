"""`sharpeye collect urls`, `search`, `frames` and `import`."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option, Typer

from sharpeye.cli import console, options
from sharpeye.collect import sources
from sharpeye.collect.frames import collect_frames
from sharpeye.collect.imports import import_images
from sharpeye.collect.search import ENGINES, MAX_IMAGES, collect_search
from sharpeye.collect.sources import NAME, CollectCounts
from sharpeye.collect.url_downloads import collect_urls, read_list
from sharpeye.core.progress import StageProgress
from sharpeye.errors import DataError, NetworkError
from sharpeye.web.addresses import anywhere, public_only

if TYPE_CHECKING:
    from sharpeye.web.image_fetcher import ImageFetcher

app = Typer(
    help="Bring images into a class folder, each once, and note where it came from.",
    add_completion=False,
    rich_markup_mode=None,
)

_WORDS = {
    sources.ADDED: "added",
    sources.DUPLICATE: "there already",
    sources.CONFLICT: "left out: in another class",
    sources.REJECTED: "no images",
    sources.FAILED: "failed",
    sources.REFUSED: "refused",
}

Folder = Annotated[
    Path, Argument(metavar="DIR/CLASS", help="The class's folder, such as photos/rose.")
]
Licence = Annotated[
    str, Option(metavar="TEXT", help="What may be done with the images; noted with each.")
]
Threads = Annotated[int, Option(min=1, max=64, help="Requests at once.")]
PerHost = Annotated[int, Option(min=1, max=16, help="Requests to one host at once.")]
Strict = Annotated[
    bool, Option("--strict", help="End with exit code 3 if any of them brought no image.")
]
AllowPrivate = Annotated[
    bool, Option("--allow-private", help="Also ask private networks, if you trust the list.")
]


@app.command()
def urls(
    file: Annotated[
        Path, Argument(metavar="FILE", help="A URL a line, behind a tab a licence; # is a comment.")
    ],
    folder: Folder,
    licence: Licence = "unknown",
    threads: Threads = 16,
    per_host: PerHost = 4,
    allow_private: AllowPrivate = False,
    strict: Strict = False,
    max_megapixels: options.MaxMegapixels = None,
    max_decode_memory: options.MaxDecodeMemory = None,
    quiet: options.Quiet = False,
) -> None:
    """Download the images of a list of URLs.

    Many at once, few from one host; robots.txt and X-Robots-Tag (noai, noimageai) are heeded. What
    came once is not asked for again: run the same command again after a break.
    """
    images = read_list(file, licence)
    with _collecting(folder, quiet) as (counts, progress), _fetcher(allow_private) as fetcher:
        collect_urls(
            images,
            folder,
            fetcher=fetcher,
            counts=counts,
            threads=threads,
            per_host=per_host,
            progress=progress,
        )
    _require_server(counts)
    _print_next(folder.parent)
    _report_missing(counts, "URLs brought no image", strict=strict)


@app.command()
def search(
    words: Annotated[str, Argument(metavar="WORDS")],
    folder: Folder,
    engine: Annotated[str, Option(help=f"{', '.join(ENGINES)}.")] = "bing",
    max_images: Annotated[
        int, Option("--max", min=1, max=MAX_IMAGES, metavar="N", help="New images.")
    ] = 100,
    licence: Licence = "unknown",
    threads: Threads = 16,
    per_host: PerHost = 4,
    allow_private: AllowPrivate = False,
    max_megapixels: options.MaxMegapixels = None,
    max_decode_memory: options.MaxDecodeMemory = None,
    quiet: options.Quiet = False,
) -> None:
    """Download images that a search engine finds.

    Images found so may be copyrighted: see sources.csv for where each is from, and look them
    through, as engines find many that are something else.
    """
    console.print_result(
        "note: images found so may be copyrighted; sources.csv names their sites", flush=True
    )
    with _collecting(folder, quiet) as (counts, progress), _fetcher(allow_private) as fetcher:
        collect_search(
            words,
            folder,
            engine=engine,
            max_images=max_images,
            fetcher=fetcher,
            counts=counts,
            licence=licence,
            threads=threads,
            per_host=per_host,
            progress=progress,
        )
    _require_server(counts)
    # Search engines find many dead links: it is a failure only if all are.
    if counts.tries and counts.missing == counts.tries:
        raise DataError(f"no result brought an image; {NAME} says why; try other words")
    _print_next(folder.parent)


@app.command()
def frames(
    source: Annotated[str, Argument(metavar="VIDEO|CAMERA", help="A video, or a camera's number.")],
    folder: Folder,
    every: Annotated[str, Option(metavar="TIME", help="Between two images: 0.5s, 2s.")] = "0.5s",
    max_images: Annotated[int, Option("--max", min=0, metavar="N", help="New images; 0: all.")] = 0,
    keep_still: Annotated[
        bool, Option("--keep-still", help="Also frames that show what the one before showed.")
    ] = False,
    licence: Licence = "unknown",
    max_megapixels: options.MaxMegapixels = None,
    max_decode_memory: options.MaxDecodeMemory = None,
    quiet: options.Quiet = False,
) -> None:
    """Take frames of a video or a camera.

    They are called VIDEO_nohash_TIME.jpg: a split keeps those of one video together.
    """
    seconds = options.parse_seconds(every)
    with _collecting(folder, quiet) as (counts, progress):
        frame_counts = collect_frames(
            source,
            folder,
            every=seconds,
            counts=counts,
            max_images=max_images,
            keep_still=keep_still,
            licence=licence,
            progress=progress,
        )
    console.print_result(
        f"left out: {frame_counts.still} frames that show what the one before showed"
    )
    _print_next(folder.parent)
    if frame_counts.damaged:
        raise DataError(
            f"{console.show(source)} is damaged in {frame_counts.damaged} places; what could be "
            "decoded is there"
        )


@app.command(name="import")
def import_(
    source: Annotated[Path, Argument(metavar="ZIP|TAR|DIR", help="Where they are.")],
    folder: Annotated[
        Path,
        Argument(metavar="DIR/CLASS", help="The class's folder; with --classes the data set's."),
    ],
    classes: Annotated[bool, Option("--classes", help="Each of its folders is a class.")] = False,
    licence: Licence = "unknown",
    strict: Strict = False,
    max_megapixels: options.MaxMegapixels = None,
    max_decode_memory: options.MaxDecodeMemory = None,
    quiet: options.Quiet = False,
) -> None:
    """Copy the images of an archive or a folder; the source is not changed."""
    with _collecting(folder, quiet) as (counts, progress):
        result = import_images(
            source, folder, counts=counts, classes=classes, licence=licence, progress=progress
        )
    if result.ignored:
        suffixes = ", ".join(
            f"{count} {kind or 'without suffix'}" for kind, count in result.ignored.most_common(5)
        )
        console.print_result(f"left out: files that are no images: {console.show(suffixes)}")
    if not classes and result.folders > 1:
        print(
            f"warning: images of {result.folders} folders are in one class now; with --classes "
            "each folder is one",
            file=sys.stderr,
        )
    _print_next(folder if classes else folder.parent)
    _report_missing(counts, "files cannot be read", strict=strict)


def _fetcher(allow_private: bool) -> "contextlib.closing[ImageFetcher]":
    from sharpeye.web.image_fetcher import ImageFetcher

    return contextlib.closing(ImageFetcher(anywhere if allow_private else public_only))


@contextlib.contextmanager
def _collecting(folder: Path, quiet: bool) -> Iterator[tuple[CollectCounts, StageProgress]]:
    """Show the progress, and print the counts, even after an error or a signal."""
    counts = CollectCounts()
    try:
        console.start_logging(quiet=quiet)
        with console.ProgressReporter(quiet=quiet) as progress:
            yield counts, progress
    finally:
        for source, reason in counts.examples:
            print(f"{console.show(source)}: {console.show(reason)}", file=sys.stderr)
        if counts.missing > len(counts.examples):
            more = counts.missing - len(counts.examples)
            print(f"... and {more} more: see {NAME}", file=sys.stderr)
        if counts.tries or counts.collected_before:
            words = [f"{counts.counts[s]} {word}" for s, word in _WORDS.items() if counts.counts[s]]
            words += [f"{counts.collected_before} came before"] if counts.collected_before else []
            console.print_result(f"{console.show(str(folder))}: {', '.join(words)}")


def _require_server(counts: CollectCounts) -> None:
    if counts.tries and counts.unreached == counts.tries:
        raise NetworkError("no server could be reached; check the network, then run it again")


def _report_missing(counts: CollectCounts, failure: str, *, strict: bool) -> None:
    """Warn of what brought no image: nearly every list has dead links, and the next command of a
    script is to run. DataError if nothing came, now or before, or if `strict`.
    """
    if not counts.missing:
        return
    message = f"{counts.missing} of {counts.tries} {failure}; {NAME} says why"
    if counts.missing == counts.tries and not counts.collected_before:
        raise DataError(message)
    if strict:
        raise DataError(f"{message}, and the others are there")
    print(f"warning: {message}; the others are there", file=sys.stderr)


def _print_next(data: Path) -> None:
    console.print_next("sharpeye", "check", data)
