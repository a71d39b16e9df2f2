"""`sharpeye collect urls`, `search`, `frames` and `import`."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from sharpeye.cli import console, options
from sharpeye.collect.frames import Frames, collect_frames
from sharpeye.collect.imports import ImportResult, import_images
from sharpeye.collect.search import ENGINES, MOST, collect_search
from sharpeye.collect.sources import ADDED, CONFLICT, DUPLICATE, FAILED, NAME, REFUSED, REJECTED
from sharpeye.collect.urls import CollectCounts, collect_urls, read_list
from sharpeye.errors import DataError, NetworkError
from sharpeye.web.addresses import anywhere, public_only
from sharpeye.web.image_fetcher import ImageFetcher

app = typer.Typer(
    help="Bring pictures into a class folder, each once, and note where it came from.",
    add_completion=False,
    rich_markup_mode=None,
)

_WORDS = {
    ADDED: "added",
    DUPLICATE: "there already",
    CONFLICT: "left out: in another class",
    REJECTED: "no pictures",
    FAILED: "failed",
    REFUSED: "refused",
}

_NO_SERVER = "no server could be reached; check the network, then run it again"

Folder = Annotated[
    Path,
    typer.Argument(
        metavar="DIR/CLASS", help="The class's folder, such as photos/rose.", show_default=False
    ),
]
Licence = Annotated[
    str, typer.Option(metavar="TEXT", help="What may be done with the pictures; noted with each.")
]
Threads = Annotated[int, typer.Option(min=1, max=64, help="Requests at once.")]
PerHost = Annotated[int, typer.Option(min=1, max=16, help="Requests to one host at once.")]
AllowPrivate = Annotated[
    bool,
    typer.Option(
        "--allow-private", help="Also ask this machine and private networks; trust the list then."
    ),
]


@app.command()
def urls(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A URL a line, with a licence behind a tab; # begins a comment.",
            show_default=False,
        ),
    ],
    folder: Folder,
    licence: Licence = "unknown",
    threads: Threads = 16,
    per_host: PerHost = 4,
    allow_private: AllowPrivate = False,
    quiet: options.Quiet = False,
) -> None:
    """Download the pictures of a list of URLs.

    Many at once, few from one host; robots.txt and X-Robots-Tag (noai, noimageai) are heeded. What
    came once is not asked for again: run the same command again after a break.
    """
    wanted, tally = read_list(file, licence), CollectCounts()
    with _told(tally, folder), _web(allow_private) as web, console.Progress(quiet=quiet) as tell:
        collect_urls(
            wanted, folder, web=web, tally=tally, threads=threads, per_host=per_host, tell=tell
        )
    _end(tally, folder.parent)


@app.command()
def search(
    words: Annotated[str, typer.Argument(metavar="WORDS", show_default=False)],
    folder: Folder,
    engine: Annotated[str, typer.Option(help=f"{', '.join(ENGINES)}.")] = "bing",
    most: Annotated[
        int, typer.Option("--max", min=1, max=MOST, metavar="N", help="New pictures.")
    ] = 100,
    licence: Licence = "unknown",
    threads: Threads = 16,
    per_host: PerHost = 4,
    allow_private: AllowPrivate = False,
    quiet: options.Quiet = False,
) -> None:
    """Download pictures that a search engine finds.

    Pictures found so may be copyrighted: see sources.csv for where each is from, and look them
    through, as engines find many that are something else.
    """
    tally = CollectCounts()
    print("note: pictures found so may be copyrighted; sources.csv names their sites", flush=True)
    with _told(tally, folder), _web(allow_private) as web, console.Progress(quiet=quiet) as tell:
        collect_search(
            words,
            folder,
            engine=engine,
            most=most,
            web=web,
            tally=tally,
            licence=licence,
            threads=threads,
            per_host=per_host,
            tell=tell,
        )
    if tally.tries and tally.unreached == tally.tries:
        raise NetworkError(_NO_SERVER)
    # Dead links are a search engine's daily bread: only none but them is a failure.
    if tally.tries and tally.missing == tally.tries:
        raise DataError(f"no result brought a picture; {NAME} says why; try other words")
    _say_next(folder.parent)


@app.command()
def frames(
    source: Annotated[
        str,
        typer.Argument(
            metavar="VIDEO|CAMERA", help="A video, or a camera's number.", show_default=False
        ),
    ],
    folder: Folder,
    every: Annotated[
        str, typer.Option(metavar="TIME", help="Between two pictures, such as 0.5s or 2s.")
    ] = "0.5s",
    most: Annotated[
        int, typer.Option("--max", min=0, metavar="N", help="New pictures; 0: all.")
    ] = 0,
    keep_still: Annotated[
        bool,
        typer.Option("--keep-still", help="Also frames that show what the one before showed."),
    ] = False,
    licence: Licence = "unknown",
    quiet: options.Quiet = False,
) -> None:
    """Take frames of a video or a camera.

    They are called VIDEO_nohash_TIME.jpg: a split keeps those of one video together.
    """
    tally = CollectCounts()
    seconds = options.seconds(every)
    with _told(tally, folder), console.Progress(quiet=quiet) as tell:
        found = collect_frames(
            source,
            folder,
            every=seconds,
            tally=tally,
            most=most,
            keep_still=keep_still,
            licence=licence,
            tell=tell,
        )
    _end_frames(found, source, folder)


@app.command(name="import")
def import_(
    source: Annotated[
        Path,
        typer.Argument(metavar="ZIP|TAR|DIR", help="Where they are.", show_default=False),
    ],
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR/CLASS",
            help="The class's folder; with --classes the data set's.",
            show_default=False,
        ),
    ],
    classes: Annotated[
        bool, typer.Option("--classes", help="Each folder of the source is a class.")
    ] = False,
    licence: Licence = "unknown",
    quiet: options.Quiet = False,
) -> None:
    """Copy the pictures of an archive or a folder; the source is not changed."""
    tally = CollectCounts()
    with _told(tally, folder), console.Progress(quiet=quiet) as tell:
        found = import_images(
            source, folder, tally=tally, classes=classes, licence=licence, tell=tell
        )
    _end_import(found, tally, folder, classes=classes)


@contextlib.contextmanager
def _web(allow_private: bool) -> Iterator[ImageFetcher]:
    web = ImageFetcher(anywhere if allow_private else public_only)
    try:
        yield web
    finally:
        web.close()


@contextlib.contextmanager
def _told(tally: CollectCounts, folder: Path) -> Iterator[None]:
    """Say what came, also if the block ends by an error or a signal."""
    try:
        yield
    finally:
        for source, reason in tally.examples:
            print(f"{console.show(source)}: {console.show(reason)}", file=sys.stderr)
        if tally.missing > len(tally.examples):
            more = tally.missing - len(tally.examples)
            print(f"... and {more} more: see {NAME}", file=sys.stderr)
        if tally.tries or tally.before:
            said = [f"{tally.counts[s]} {word}" for s, word in _WORDS.items() if tally.counts[s]]
            said += [f"{tally.before} came before"] if tally.before else []
            print(f"{console.show(str(folder))}: {', '.join(said)}")


def _end(tally: CollectCounts, data: Path) -> None:
    if tally.tries and tally.unreached == tally.tries:
        raise NetworkError(_NO_SERVER)
    _say_next(data)
    if tally.missing:
        raise DataError(
            f"{tally.missing} of {tally.tries} URLs brought no picture; {NAME} says why, and the "
            "others are there"
        )


def _end_frames(found: Frames, source: str, folder: Path) -> None:
    print(f"left out: {found.still} frames that show what the one before showed")
    _say_next(folder.parent)
    if found.damaged:
        raise DataError(
            f"{console.show(source)} is damaged in {found.damaged} places; what could be decoded "
            "is there"
        )


def _end_import(found: ImportResult, tally: CollectCounts, folder: Path, *, classes: bool) -> None:
    if found.ignored:
        kinds = ", ".join(f"{count} {kind}" for kind, count in found.ignored.most_common(5))
        print(f"left out: files that are no pictures: {console.show(kinds)}")
    if not classes and found.folders > 1:
        print(
            f"warning: pictures of {found.folders} folders are in one class now; with --classes "
            "each folder is one",
            file=sys.stderr,
        )
    _say_next(folder if classes else folder.parent)
    if tally.missing:
        raise DataError(
            f"{tally.missing} of {tally.tries} files cannot be read; {NAME} says why, and the "
            "others are there"
        )


def _say_next(data: Path) -> None:
    print(f"next: sharpeye check {console.show(str(data))}")
