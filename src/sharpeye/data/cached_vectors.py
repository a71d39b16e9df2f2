"""Get vectors of images from a store; compute and store the missing ones.

Each vector is stored as soon as it is computed, so that a stopped run continues where it ended.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sharpeye.core.arrays import Floats
from sharpeye.core.parallel import parallel_map
from sharpeye.core.progress import Progress
from sharpeye.core.types import Rejected, Sample
from sharpeye.data.vector_store import SegmentWriter, VectorStore
from sharpeye.errors import EnvironmentFault, ImageReadError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadResult:
    """How many vectors were in the store, and why images could not be read, by digest."""

    from_store: int
    failed: dict[str, ImageReadError]

    def rejected(self, samples: Sequence[Sample]) -> tuple[Rejected, ...]:
        """The samples that could not be read."""
        return rejected_samples(samples, self.failed)


def rejected_samples(
    samples: Sequence[Sample], failed: Mapping[str, ImageReadError]
) -> tuple[Rejected, ...]:
    """The samples whose digests are in `failed`."""
    errors = ((sample.path, failed.get(sample.sha256)) for sample in samples)
    return tuple(Rejected(path, e.reason, e.transient) for path, e in errors if e is not None)


def load_or_compute(
    store: VectorStore,
    samples: Mapping[str, Sample],
    compute: Callable[[Sample], Floats],
    *,
    receive: Callable[[str, Floats], None],
    columns: slice = slice(None),
    progress: Progress | None = None,
) -> LoadResult:
    """Get the vector of each sample; missing ones are computed on all cores.

    If the store cannot be written, this logs a warning.

    Args:
        samples: samples by the key of their record in the store.
        compute: returns float32[D] for a sample; may raise ImageReadError. It is tried again at the
            end if that is transient.
        receive: called with (key, float32[columns]) for each vector, stored ones first.
        progress: called after each image that had to be computed.
    """
    missing = dict(samples)
    for key, vector in store.read(samples, columns):
        del missing[key]
        receive(key, vector)
    from_store = len(samples) - len(missing)
    failed: dict[str, ImageReadError] = {}

    def compute_or_fail(item: tuple[str, Sample]) -> Floats | ImageReadError:
        try:
            return compute(item[1])
        except ImageReadError as error:
            return error

    if missing:
        with _appending(store) as append:
            results = parallel_map(compute_or_fail, missing.items())
            again: list[tuple[str, Sample]] = []
            for done, (item, result) in enumerate(results, start=1):
                if not isinstance(result, ImageReadError):
                    append(item[0], result)
                    receive(item[0], result[columns])
                elif result.transient:
                    again.append(item)
                else:
                    failed[item[1].sha256] = result
                if progress:
                    progress(done, len(missing))
            for item in again:  # one by one: the machine may have been too busy
                result = compute_or_fail(item)
                if isinstance(result, ImageReadError):
                    failed[item[1].sha256] = result
                else:
                    append(item[0], result)
                    receive(item[0], result[columns])
        store.merge()
    return LoadResult(from_store, failed)


@contextlib.contextmanager
def _appending(store: VectorStore) -> Iterator[Callable[[str, Floats], None]]:
    """A function that stores a vector until the store cannot be written."""
    with contextlib.ExitStack() as stack:
        writer: SegmentWriter | None = None
        try:
            writer = stack.enter_context(store.writer())
        except EnvironmentFault as error:
            log.warning("features are not cached: %s", error)

        def append(key: str, vector: Floats) -> None:
            nonlocal writer
            try:
                if writer:
                    writer.append(key, vector)
            except EnvironmentFault as error:
                writer = None
                log.warning("features are not cached from here on: %s", error)

        yield append
