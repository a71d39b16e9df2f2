"""Store the split of each image in the cache, so that the image stays in it.

One text file per (seed, fractions) has a line `<sha256> <split>` per image. Lines are only
appended; an incomplete last line is ignored. Without the file, the split is still the same except
for the few exceptions that `split.py` makes.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

from sharpeye.core.storage import FileLock, cache_root, os_errors_at
from sharpeye.core.types import SPLITS, Sample, Split
from sharpeye.data.split_rules import SplitFractions
from sharpeye.errors import EnvironmentFault

log = logging.getLogger(__name__)

_DIGEST_LENGTH = 64


class SplitCache:
    """The stored splits for one seed and one pair of fractions."""

    def __init__(self, seed: int, fractions: SplitFractions, folder: Path | None = None) -> None:
        folder = folder or cache_root() / "splits"
        self.path = folder / f"seed{seed}-val{fractions.validation:g}-test{fractions.test:g}.txt"

    def read(self) -> dict[str, Split]:
        """The split by digest; empty if none is stored."""
        try:
            text = self.path.read_text(encoding="ascii", errors="replace")
        except OSError:
            return {}
        known: dict[str, Split] = {}
        for line in text.splitlines():
            digest, _, split = line.partition(" ")
            if len(digest) == _DIGEST_LENGTH and split in SPLITS:
                known[digest] = split  # the last line of a digest counts
        return known

    def add(self, samples: Iterable[Sample], known: dict[str, Split]) -> None:
        """Append the splits that are not in `known` yet."""
        new = {s.sha256: s.split for s in samples if s.split and known.get(s.sha256) != s.split}
        if not new:
            return
        lines = "".join(f"{digest} {split}\n" for digest, split in new.items())
        try:
            with FileLock(self.path.with_suffix(".lock")), os_errors_at(self.path):
                torn = self.path.exists() and not _ends_with_newline(self.path)
                with self.path.open("a", encoding="ascii", newline="\n") as file:
                    file.write(("\n" if torn else "") + lines)
        except EnvironmentFault as error:
            log.warning("the split is not remembered: %s", error)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, 2):
            return True
        file.seek(-1, 2)
        return file.read(1) == b"\n"
