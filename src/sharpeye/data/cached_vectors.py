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
    failed: dict[str, str]

    def rejected(self, samples: Sequence[Sample]) -> tuple[Rejected, ...]:
        """The samples that could not be read."""
        reasons = ((s.path, self.failed.get(s.sha256)) for s in samples)
        return tuple(Rejected(path, reason) for path, reason in reasons if reason is not None)


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
        compute: returns float32[D] for a sample; may raise ImageReadError.
        receive: called with (key, float32[columns]) for each vector, stored ones first.
        progress: called after each image that had to be computed.
    """
    missing = dict(samples)
    for key, vector in store.read(samples, columns):
        del missing[key]
        receive(key, vector)
    from_store = len(samples) - len(missing)
    failed: dict[str, str] = {}

    def compute_or_fail(item: tuple[str, Sample]) -> Floats | ImageReadError:
        try:
            return compute(item[1])
        except ImageReadError as error:
            return error

    if missing:
        with _appending(store) as append:
            results = parallel_map(compute_or_fail, missing.items())
            for done, ((key, sample), result) in enumerate(results, start=1):
                if isinstance(result, ImageReadError):
                    failed[sample.sha256] = result.reason
                else:
                    append(key, result)
                    receive(key, result[columns])
                if progress:
                    progress(done, len(missing))
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
