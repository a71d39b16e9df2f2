"""Files that are written about images: one an image, below one folder, beside the answers."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from sharpeye.core.parallel import parallel_map
from sharpeye.core.types import Prediction
from sharpeye.errors import ImageReadError, UsageError
from sharpeye.predict.predictor import Model, UnreadableImage

Found = tuple[str, Path] | UnreadableImage


class OutputPaths:
    """Where the files about images go: below `folder`, in the order of the images' own folders.

    An image that was found in a given folder keeps its path below that; one that was given by
    itself keeps its name. Of two images that would get the same file, the second gets `name-2`,
    or none.

    Args:
        folder: where to; need not exist.
        sources: the paths that were asked about; nothing is ever written over one of them, or
            into it if it is a folder.
        overwrite: whether a file that is there already is replaced; else it is kept.
        numbered: whether names may get a number.

    Attributes:
        kept: how many files were there already, and were kept.
        clashes: how many images got none, as the name was another image's.
    """

    def __init__(
        self,
        folder: Path,
        sources: Iterable[Path],
        *,
        overwrite: bool = False,
        numbered: bool = True,
    ) -> None:
        self._folder, self._overwrite, self._numbered = folder, overwrite, numbered
        self._sources = [source.resolve() for source in sources]
        self._taken: set[str] = set()
        self.kept = self.clashes = 0

    def place(self, image: Path, suffix: str) -> Path | None:
        """The file about an image; None if it is there already and kept, or another image's.

        Call it in the order of the images: the numbers depend on it.

        Raises:
            UsageError: it would lie in a folder of the images, or outside its own.
        """
        relative = self._relative(image).with_suffix(suffix)
        stem, number = relative.stem, 1
        while str(relative).casefold() in self._taken:
            if not self._numbered:
                self.clashes += 1
                return None
            number += 1
            relative = relative.with_name(f"{stem}-{number}{suffix}")
        self._taken.add(str(relative).casefold())
        target = self._folder / relative
        self._check(target)
        if not self._overwrite and target.exists():
            self.kept += 1
            return None
        return target

    def _relative(self, image: Path) -> Path:
        root = next((s for s in self._sources if image != s and image.is_relative_to(s)), None)
        return image.relative_to(root) if root else Path(image.name)

    def _check(self, target: Path) -> None:
        parent = target.parent.resolve()
        if not parent.is_relative_to(self._folder.resolve()):
            raise UsageError(f"{target.parent} leads out of {self._folder}; choose another folder")
        final = parent / target.name
        if any(final.is_relative_to(source) for source in self._sources):
            raise UsageError(
                f"{self._folder} is in the folder of the pictures, which stay as they are; "
                "choose a folder beside it"
            )


class ImageWriter(Protocol):
    """Writes one kind of file about each image."""

    places: OutputPaths

    def suffix(self, image: Path) -> str:
        """Of the file about this image."""

    def write(self, answer: Prediction, image: Path, target: Path) -> None:
        """Write it. Called from several threads.

        Raises:
            ImageReadError: the image cannot be read any more.
            EnvironmentFault: the file cannot be written.
        """


def predict_and_write(
    model: Model, found: Iterable[Found], top: int, sinks: Sequence[ImageWriter]
) -> Iterator[Prediction | UnreadableImage]:
    """Like `Model.predict_files`, and each sink has written before an answer is given on."""
    if not sinks:
        yield from model.predict_files(found, top)
        return
    waiting: deque[tuple[Path, list[Path | None]]] = deque()

    def noted() -> Iterator[Found]:
        for item in found:
            if not isinstance(item, UnreadableImage):
                image = item[1]
                targets = [sink.places.place(image, sink.suffix(image)) for sink in sinks]
                waiting.append((image, targets))
            else:
                waiting.append((Path(), []))
            yield item

    def work(
        item: tuple[Prediction | UnreadableImage, tuple[Path, list[Path | None]]],
    ) -> Prediction | UnreadableImage:
        answer, (image, targets) = item
        if isinstance(answer, UnreadableImage):
            return answer
        try:
            for sink, target in zip(sinks, targets, strict=True):
                if target:
                    sink.write(answer, image, target)
        except ImageReadError as error:
            return UnreadableImage(answer.path or "", error.reason)
        return answer

    # Both streams give back in order, and take their items in this thread.
    pairs = ((answer, waiting.popleft()) for answer in model.predict_files(noted(), top))
    for _, answer in parallel_map(work, pairs):
        yield answer
