"""Write one file for each predicted image below a folder: drawings, annotations, heat maps."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sharpeye.core.parallel import parallel_map
from sharpeye.core.paths import name_that_fits
from sharpeye.core.types import Prediction
from sharpeye.errors import ImageReadError, UsageError
from sharpeye.predict.predictor import ImageFile, Model, PredictResult, UnreadableImage


class OutputPaths:
    """Assigns each image an output path below `folder`, in the folder structure of the images.

    An image from a searched folder keeps its path below that folder; a single image keeps its name.
    The second of two images with the same output path gets `name-2`, or no output.

    Args:
        sources: the input paths; an output never replaces one of them, or lies inside an input
            folder.
        numbered: whether a name may get a number.

    Attributes:
        existing: how many files existed and were not replaced.
        clashes: how many images have no output, because another image has its path.
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
        self._used: set[str] = set()
        self.existing = self.clashes = 0

    def assign(self, image: Path, suffix: str) -> Path | None:
        """The output path of an image; None if the file exists, or is another image's.

        Call it in the order of the images: the numbers depend on it.

        Raises:
            UsageError: the path lies in a folder of images, or outside the output folder.
        """
        root = next((s for s in self._sources if image != s and image.is_relative_to(s)), None)
        relative = image.relative_to(root) if root else Path(image.name)
        stem, number = relative.stem, 1
        relative = relative.with_name(name_that_fits(stem, suffix))
        while relative.as_posix().casefold() in self._used:
            if not self._numbered:
                self.clashes += 1
                return None
            number += 1
            relative = relative.with_name(name_that_fits(stem, f"-{number}{suffix}"))
        self._used.add(relative.as_posix().casefold())
        target = self._folder / relative
        self._check(target)
        if not self._overwrite and target.exists():
            self.existing += 1
            return None
        return target

    def _check(self, target: Path) -> None:
        parent = target.parent.resolve()
        if not parent.is_relative_to(self._folder.resolve()):
            raise UsageError(f"{target.parent} leads out of {self._folder}; choose another folder")
        resolved = parent / target.name
        if any(resolved.is_relative_to(source) for source in self._sources):
            raise UsageError(
                f"{self._folder} is in the folder of the images, which stay as they are; "
                "choose a folder beside it"
            )


@dataclass(frozen=True)
class ImageWriter:
    """Writes one kind of output file.

    Attributes:
        suffix: the suffix of an image's file.
        write: writes the file of (prediction, image, target); several threads call it. It raises
            ImageReadError if the image is no longer readable.
    """

    paths: OutputPaths
    suffix: Callable[[Path], str]
    write: Callable[[Prediction, Path, Path], None]


def predict_and_write(
    model: Model, files: Iterable[ImageFile], writers: Sequence[ImageWriter], *, top: int
) -> Iterator[PredictResult]:
    """`Model.predict_files`, but all writers write before a result is yielded."""
    if not writers:
        yield from model.predict_files(files, top)
        return
    pending: deque[tuple[Path, list[Path | None]]] = deque()

    def assigned_files() -> Iterator[ImageFile]:
        for item in files:
            if isinstance(item, UnreadableImage):
                pending.append((Path(), []))
            else:
                image = item[1]
                targets = [writer.paths.assign(image, writer.suffix(image)) for writer in writers]
                pending.append((image, targets))
            yield item

    def write(item: tuple[PredictResult, tuple[Path, list[Path | None]]]) -> PredictResult:
        result, (image, targets) = item
        if isinstance(result, UnreadableImage):
            return result
        try:
            for writer, target in zip(writers, targets, strict=True):
                if target:
                    writer.write(result, image, target)
        except ImageReadError as error:
            return UnreadableImage(result.path or "", error.reason)
        return result

    # Both maps yield in order, and fetch their items in this thread.
    pairs = ((result, pending.popleft()) for result in model.predict_files(assigned_files(), top))
    for _, result in parallel_map(write, pairs):
        yield result
