"""Archives from strangers: nothing is written elsewhere, nothing of a refused one stays."""

import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from archive_files import SUFFIXES, make
from battery.hostile_archives import crafted_archives, good_entries, mutate
from battery.processes import check_unchanged
from battery.tally import HangError, LossError, Tally, Tier, TracebackError
from runner import tree
from sharpeye.cli.app import run
from sharpeye.collect.archives import FREE_BYTES, MAX_RATIO

MAX_SECONDS = 5.0
# Of an archive with very many members: what a file costs by the system's own calls.
MAX_SECONDS_PER_MEMBER = 1e-3


class Import:
    """Runs `collect import` of archives in this process, beside files that must not change."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.slowest = 0.0
        (folder / "outside").mkdir()
        (folder / "outside" / "secret.txt").write_text("mine")
        (folder / "photos").mkdir()

    def run(self, archive: Path, seconds: float = MAX_SECONDS) -> tuple[int, str]:
        """The exit code and the message; the imported images are removed."""
        photos = self.folder / "photos"
        before, written, start = tree(self.folder), _written_bytes(), time.process_time()
        self._capsys.readouterr()
        code = run(["collect", "import", str(archive), str(photos / "rose"), "--quiet"])
        taken = time.process_time() - start
        out, err = self._capsys.readouterr()
        if code == 1 or "Traceback" in out + err:
            raise TracebackError(err[-1000:])
        imported = sorted((photos / "rose").glob("*")) if (photos / "rose").exists() else []
        for file in imported:
            file.unlink()
        if imported:
            (photos / "rose").rmdir()
        check_unchanged(self.folder, before)
        if code == 4 and imported:
            raise LossError(f"files of a refused archive stay: {imported[:5]}")
        limit = max(FREE_BYTES, MAX_RATIO * archive.stat().st_size) + 2**20
        assert _written_bytes() - written <= limit, "more bytes than the limit were written"
        assert not Path("/evil").exists()
        if taken > seconds:
            raise HangError(f"it took {taken:.1f} s of a core")
        self.slowest = max(self.slowest, taken)
        return code, err


def _written_bytes() -> int:
    """Bytes that this process has passed to `write` so far; 0 where the system does not count."""
    try:
        text = Path("/proc/self/io").read_text()
    except OSError:
        return 0
    match = re.search(r"wchar: (\d+)", text)
    return int(match[1]) if match else 0


@pytest.fixture
def imports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Import]:
    folder = tmp_path / "root"
    folder.mkdir()
    yield Import(folder, capsys)


def test_hostile_archives(tally: Tally, tier: Tier, imports: Import, tmp_path: Path) -> None:
    """Archives that lead out, link, lie, overlap or explode, of zip and tar."""
    cases = crafted_archives()
    count = tier.count(small=24, battery=len(cases), full=len(cases))
    for case in cases[:: len(cases) // count][:count]:
        with tally.case(f"{case.name} ({case.suffix})"):
            archive = tmp_path / f"archive.{case.suffix}"
            case.write(archive)
            code, message = imports.run(archive)
            assert code in case.codes, f"exit code {code}: {message}"
            if code == 4:
                assert "archive." in message and len(message.splitlines()) == 1, message
                assert case.words in message, f"{case.words!r} is not in {message!r}"
    tally.figures["slowest"] = f"{imports.slowest:.1f} s"


def test_damaged_archives(
    tally: Tally, tier: Tier, seed: int, imports: Import, tmp_path: Path
) -> None:
    """Good archives with changed, missing or more bytes."""
    random, refused = np.random.default_rng(seed), 0
    whole = {suffix: make(tmp_path / f"whole.{suffix}", good_entries()) for suffix in SUFFIXES}
    data = {suffix: file.read_bytes() for suffix, file in whole.items()}
    for number in range(tier.count(small=15, battery=200, full=2000)):
        suffix = SUFFIXES[number % len(SUFFIXES)]
        with tally.case(f"{suffix} {number}"):
            archive = tmp_path / f"archive.{suffix}"
            archive.write_bytes(mutate(data[suffix], random))
            code, message = imports.run(archive)
            assert code in (0, 3, 4), f"exit code {code}: {message}"
            assert code == 0 or "archive." in message, message
            refused += code == 4
    tally.figures["refused"] = str(refused)
    tally.figures["slowest"] = f"{imports.slowest:.1f} s"


def test_archives_of_very_many_members(
    tally: Tally, tier: Tier, imports: Import, tmp_path: Path
) -> None:
    """Archives of many thousands of empty files."""
    count = tier.count(small=300, battery=20_000, full=80_000)
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for number in range(count):
            opened.writestr(f"rose/{number}.jpg", b"")
    with tally.case(f"{count:,} empty images"):
        code, message = imports.run(archive, MAX_SECONDS + count * MAX_SECONDS_PER_MEMBER)
        assert code == 3, message
    tally.figures[f"{count:,} members"] = f"{imports.slowest:.1f} s"
    if tier.name == "full":
        with zipfile.ZipFile(archive, "w") as opened:
            for number in range(1_000_001):
                opened.writestr(f"{number}", b"")
        with tally.case("1,000,001 members"):
            code, message = imports.run(archive, 60)
            assert code == 4 and "more than 1,000,000 members" in message, message
