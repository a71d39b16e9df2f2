"""Read a list of images' URLs: one a line, with a licence behind a tab."""

from dataclasses import dataclass
from pathlib import Path

from sharpeye.collect.sources import UNKNOWN
from sharpeye.errors import DataError, UsageError

MAX_LIST_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class ListedImage:
    """A URL, or what stands for one in a list; what may be done with the image."""

    url: str
    licence: str = UNKNOWN


def read_list(file: Path, licence: str = UNKNOWN) -> list[ListedImage]:
    """The images that a text file lists.

    Args:
        licence: of the lines without one.

    Raises:
        UsageError: no such file.
        DataError: it holds no URL, or is no text.
    """
    try:
        if file.stat().st_size > MAX_LIST_BYTES:
            raise DataError(f"{file} has more than {MAX_LIST_BYTES // 2**20} MiB; split it up")
        images = parse_list(file.read_text(encoding="utf-8-sig"), licence)
    except OSError as error:
        raise UsageError(
            f"cannot read {file}: {error.strerror}; give a text file with one URL a line"
        ) from None
    except UnicodeDecodeError:
        raise DataError(f"{file} is no text in UTF-8; give a file with one URL a line") from None
    if not any(image.url.startswith(("http://", "https://")) for image in images):
        raise DataError(f"no URL in {file}; it needs one a line, http://HOST/PATH or https://...")
    return images


def parse_list(text: str, licence: str = UNKNOWN) -> list[ListedImage]:
    """The images of a list, each URL once, with its first licence; `#` begins a comment."""
    images: dict[str, ListedImage] = {}
    for line in text.splitlines():
        url, _, rest = line.partition("\t")
        url = url.strip()
        if url and not url.startswith("#"):
            images.setdefault(url, ListedImage(url, rest.partition("\t")[0].strip() or licence))
    return [*images.values()]
