"""Remembers in the cache which part each image was given, so that it stays there.

One text file a (seed, shares): a line an image, `<sha256> <part>`. It only ever grows; a torn
last line is ignored. Where it cannot be written or was deleted, the split is still the same but
for the few images that `split.py` had to place by hand.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

from sharpeye.core.storage import FileLock, cache_root, os_errors_at
from sharpeye.core.types import SPLITS, Sample, Split
from sharpeye.data.split import SplitShares
from sharpeye.errors import EnvironmentFault

log = logging.getLogger(__name__)

_LINE_LENGTH = 64


class SplitCache:
    """The remembered parts for one seed and one pair of shares."""

    def __init__(self, seed: int, shares: SplitShares, folder: Path | None = None) -> None:
        folder = folder or cache_root() / "splits"
        self.path = folder / f"seed{seed}-val{shares.validation:g}-test{shares.test:g}.txt"

    def read(self) -> dict[str, Split]:
        """Part by digest; empty if nothing is remembered."""
        try:
            text = self.path.read_text(encoding="ascii", errors="replace")
        except OSError:
            return {}
        known: dict[str, Split] = {}
        for line in text.splitlines():
            digest, _, part = line.partition(" ")
            if len(digest) == _LINE_LENGTH and part in SPLITS:
                known[digest] = part  # the last word counts
        return known

    def add(self, samples: Iterable[Sample], known: dict[str, Split]) -> None:
        """Append what `known` does not hold yet."""
        new = {s.sha256: s.split for s in samples if s.split and known.get(s.sha256) != s.split}
        if not new:
            return
        lines = "".join(f"{digest} {part}\n" for digest, part in new.items())
        try:
            with FileLock(self.path.with_suffix(".lock")), os_errors_at(self.path):
                torn = self.path.exists() and not _ends_with_newline(self.path)
                with self.path.open("a", encoding="ascii") as file:
                    file.write(("\n" if torn else "") + lines)
        except EnvironmentFault as error:
            log.warning("the split is not remembered: %s", error)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, 2):
            return True
        file.seek(-1, 2)
        return file.read(1) == b"\n"
