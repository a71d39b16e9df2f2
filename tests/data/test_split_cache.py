"""The memory of splits: what it keeps, and that it can be torn, spoilt or locked away."""

import logging
import multiprocessing
import os
from pathlib import Path

import pytest

from sharpeye.core.types import Sample, Split
from sharpeye.data.split_cache import SplitCache
from sharpeye.data.split_rules import SplitFractions

SHARES = SplitFractions(0.15, 0.15)


def samples(start: int, stop: int, split: Split = "test") -> list[Sample]:
    return [Sample(f"a/{i}", Path(), "a", split, sha256=f"{i:064x}") for i in range(start, stop)]


def known(*samples_: Sample) -> dict[str, Split]:
    return {s.sha256: s.split for s in samples_ if s.split}


def stored_lines(split_cache: SplitCache) -> list[str]:
    """The lines of a cache file without its checksums."""
    lines = split_cache.path.read_text(encoding="ascii").splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_what_is_remembered_is_read_again(cache: Path) -> None:
    split_cache = SplitCache(0, SHARES)
    assert split_cache.read() == {}
    first, second = samples(0, 5), samples(5, 9, "train")
    split_cache.add(first, split_cache.read())
    split_cache.add(first + second, split_cache.read())
    assert SplitCache(0, SHARES).read() == known(*first, *second)
    assert split_cache.path.is_relative_to(cache)
    assert len(stored_lines(split_cache)) == 9  # nothing twice


def test_seeds_and_shares_are_kept_apart() -> None:
    split_cache = SplitCache(0, SHARES)
    split_cache.add(samples(0, 5), {})
    others = [
        SplitCache(1, SHARES),
        SplitCache(0, SplitFractions(0.15, 0.2)),
        SplitCache(0, SplitFractions(0.0, 0.15)),
    ]
    assert [other.read() for other in others] == [{}, {}, {}]


def test_the_last_word_counts() -> None:
    split_cache = SplitCache(0, SHARES)
    split_cache.add(samples(0, 3, "train"), {})
    split_cache.add(samples(1, 2, "validation"), split_cache.read())
    assert [split_cache.read()[s.sha256] for s in samples(0, 3)] == ["train", "validation", "train"]


def test_a_torn_end_costs_the_last_line_only() -> None:
    split_cache = SplitCache(0, SHARES)
    split_cache.add(samples(0, 4), {})
    whole = split_cache.path.read_bytes()
    checksum_length = len("# 01234567\n")
    for length in range(len(whole) - checksum_length - 70, len(whole)):
        split_cache.path.write_bytes(whole[:length])
        is_complete = length >= len(whole) - checksum_length
        assert split_cache.read() == known(*samples(0, 4 if is_complete else 3)), length
        split_cache.add(samples(3, 6), split_cache.read())
        assert split_cache.read() == known(*samples(0, 6)), length
        split_cache.path.write_bytes(whole)


def test_damage_costs_a_warning_and_the_file_is_written_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    split_cache = SplitCache(0, SHARES)
    split_cache.add(samples(0, 3), {})
    split_cache.add(samples(3, 6), split_cache.read())
    whole = split_cache.path.read_bytes()
    for bit in range(0, 8 * len(whole), 5):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        split_cache.path.write_bytes(data)
        caplog.clear()
        read = split_cache.read()
        assert f"{split_cache.path} is damaged" in caplog.text, bit
        split_cache.add(samples(0, 6), read)
        caplog.clear()
        assert known(*samples(0, 6)).items() <= split_cache.read().items()
        assert caplog.text == "", bit


def test_lines_without_checksums_of_earlier_versions_are_read_and_then_checked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    split_cache = SplitCache(0, SHARES)
    split_cache.add(samples(0, 3), {})
    old = "".join(f"{line}\n" for line in stored_lines(split_cache))
    split_cache.path.write_text(old, encoding="ascii")
    assert split_cache.read() == known(*samples(0, 3))
    split_cache.add(samples(3, 6), split_cache.read())
    assert split_cache.read() == known(*samples(0, 6))
    assert caplog.text == ""
    text = split_cache.path.read_text(encoding="ascii")
    split_cache.path.write_text(text.replace("test", "train", 1), encoding="ascii")
    split_cache.read()
    assert "is damaged" in caplog.text


def test_garbage_is_skipped() -> None:
    split_cache = SplitCache(0, SHARES)
    split_cache.add(samples(0, 2), {})
    with split_cache.path.open("ab") as file:
        file.write(b"\xff\x00\xfe binary\n\n" + b"ab test\n" + b"f" * 64 + b" nowhere\n")
        file.write(b"e" * 64 + b"test\n")
    split_cache.add(samples(2, 4), split_cache.read())
    assert split_cache.read() == known(*samples(0, 4))


def test_a_damaged_line_is_written_again() -> None:
    split_cache = SplitCache(0, SHARES)
    split_cache.add(samples(0, 3), {})
    data = bytearray(split_cache.path.read_bytes())
    data[75] ^= 0xFF  # in the second line
    split_cache.path.write_bytes(data)
    assert f"{1:064x}" not in split_cache.read()
    split_cache.add(samples(0, 3), split_cache.read())
    assert known(*samples(0, 3)).items() <= split_cache.read().items()


@pytest.mark.parametrize("where", ["file below", "folder in place"])
def test_a_place_that_cannot_be_written_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    if where == "file below":
        (tmp_path / "splits").write_text("a file where the folder should be")
    split_cache = SplitCache(0, SHARES, tmp_path / "splits")
    if where == "folder in place":
        split_cache.path.mkdir(parents=True)
    with caplog.at_level(logging.WARNING, "sharpeye"):
        assert split_cache.read() == {}
        split_cache.add(samples(0, 2), {})
    assert "the split is not remembered" in caplog.text
    assert split_cache.read() == {}


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(0o555)
    try:
        SplitCache(0, SHARES, tmp_path / "splits").add(samples(0, 2), {})
    finally:
        tmp_path.chmod(0o755)
    assert "the split is not remembered" in caplog.text


def _write(folder: Path, start: int, rounds: int) -> None:
    split_cache = SplitCache(0, SHARES, folder)
    for number in range(rounds):
        split_cache.add(samples(start + 50 * number, start + 50 * (number + 1)), {})


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_write, args=(tmp_path, 10_000 * i, 40)) for i in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    expected = known(*samples(0, 2000), *samples(10_000, 12_000))
    split_cache = SplitCache(0, SHARES, tmp_path)
    assert split_cache.read() == expected
    assert len(stored_lines(split_cache)) == 4000
