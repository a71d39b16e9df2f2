"""Vectors on disk: what was written is read, and nothing that was damaged."""

import hashlib
import logging
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sharpeye.core.storage import FileLock
from sharpeye.data.vector_store import VectorStore, iter_vector_folders
from sharpeye.errors import EnvironmentFault

WIDTH = 5
RECORD = 32 + 4 * WIDTH + 16
HEADER = 64


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def vector(number: int) -> np.ndarray:
    values = np.random.default_rng(number).normal(size=WIDTH).astype(np.float32)
    values[0] = (np.nan, np.inf, -0.0)[number % 3]  # kept bit by bit
    return values


def store_in(root: Path, **key: object) -> VectorStore:
    return VectorStore({"backbone": "tiny", **key}, WIDTH, root)


def fill(store: VectorStore, start: int, stop: int) -> None:
    with store.writer() as writer:
        for number in range(start, stop):
            writer.append(digest(number), vector(number))


def present(store: VectorStore, stop: int) -> set[int]:
    """Which of the first `stop` records are there; they must be as they were written."""
    stored = dict(store.read([digest(number) for number in range(stop)]))
    for number in range(stop):
        if digest(number) in stored:
            assert stored[digest(number)].tobytes() == vector(number).tobytes()
    return {number for number in range(stop) if digest(number) in stored}


def segments(store: VectorStore) -> list[Path]:
    return sorted(store.folder.glob("*.seg"))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    assert dict(store.read([digest(0)])) == {}
    fill(store, 0, 20)
    assert present(store_in(tmp_path), 25) == set(range(20))
    assert segments(store)[0].stat().st_size == HEADER + 20 * RECORD
    stored = dict(store.read([digest(3)]))
    assert list(stored) == [digest(3)]
    assert stored[digest(3)].dtype == np.float32 and stored[digest(3)].shape == (WIDTH,)


def test_the_cache_is_where_the_environment_says(cache: Path) -> None:
    store = VectorStore({"backbone": "tiny"}, WIDTH)
    fill(store, 0, 1)
    assert store.folder.is_relative_to(cache)
    assert [size for _, _, size in iter_vector_folders()] == [HEADER + RECORD]


def test_another_key_or_width_is_another_store(tmp_path: Path) -> None:
    fill(store_in(tmp_path), 0, 3)
    assert present(store_in(tmp_path, view=1), 3) == set()
    wide = VectorStore({"backbone": "tiny"}, WIDTH + 1, tmp_path)
    assert dict(wide.read([digest(0)])) == {}
    fill(store_in(tmp_path, view=1), 0, 3)
    keys = [key for _, key, _ in iter_vector_folders(tmp_path)]
    assert {"backbone": "tiny", "dimension": WIDTH} in keys
    assert {"backbone": "tiny", "view": 1, "dimension": WIDTH} in keys


def test_the_order_of_a_key_does_not_matter(tmp_path: Path) -> None:
    fill(VectorStore({"a": 1, "b": 2}, WIDTH, tmp_path), 0, 3)
    assert present(VectorStore({"b": 2, "a": 1}, WIDTH, tmp_path), 3) == {0, 1, 2}


def test_records_are_seen_while_the_writer_goes_on(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with store.writer() as writer:
        for number in range(3):
            writer.append(digest(number), vector(number))
            assert present(store_in(tmp_path), 3) == set(range(number + 1))


def test_a_writer_leaves_no_lock_and_one_that_wrote_nothing_no_segment(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with store.writer():
        pass
    assert {file.name for file in store.folder.iterdir()} == {"key.json"}
    fill(store, 0, 1)
    assert {file.suffix for file in store.folder.iterdir()} == {".json", ".seg"}


@pytest.mark.parametrize("bit", [0, 7])
def test_a_damaged_byte_costs_that_record_only(
    tmp_path: Path, bit: int, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_in(tmp_path)
    fill(store, 0, 3)
    segment = segments(store)[0]
    whole = segment.read_bytes()
    for position in range(HEADER, len(whole)):
        data = bytearray(whole)
        data[position] ^= 1 << bit
        segment.write_bytes(data)
        assert present(store, 3) == {0, 1, 2} - {(position - HEADER) // RECORD}, position
    assert "1 damaged cache records" in caplog.text


def test_a_damaged_header_costs_the_segment_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_in(tmp_path)
    fill(store, 0, 3)
    segment = segments(store)[0]
    whole = segment.read_bytes()
    fill(store, 3, 5)
    for position in range(HEADER):
        data = bytearray(whole)
        data[position] ^= 1
        segment.write_bytes(data)
        assert present(store, 5) == {3, 4}, position
    assert "is damaged and left out" in caplog.text


def test_a_torn_tail_costs_the_last_record_only(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    fill(store, 0, 3)
    segment = segments(store)[0]
    whole = segment.read_bytes()
    for length in range(len(whole)):
        segment.write_bytes(whole[:length])
        assert present(store, 3) == set(range(max(0, length - HEADER) // RECORD)), length
    fill(store, 0, 3)
    assert present(store, 3) == {0, 1, 2}


def test_a_damaged_record_that_is_written_again_counts(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    fill(store, 0, 2)
    segment = segments(store)[0]
    data = bytearray(segment.read_bytes())
    data[HEADER + 40] ^= 1
    segment.write_bytes(data)
    fill(store, 0, 1)
    assert present(store, 2) == {0, 1}


def test_garbage_in_the_folder_does_no_harm(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    fill(store, 0, 2)
    (store.folder / "a.seg").write_bytes(os.urandom(5000))
    (store.folder / "b.seg").write_bytes(b"")
    (store.folder / "c.seg").mkdir()
    (store.folder / "key.json").write_bytes(b"\xff not JSON")
    assert present(store, 2) == {0, 1}
    fill(store, 2, 3)
    assert present(store, 3) == {0, 1, 2}
    assert [key for _, key, _ in iter_vector_folders(tmp_path)] == [{}]


def test_a_cache_that_is_cleared_while_it_is_written_does_no_harm(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with store.writer() as writer:
        writer.append(digest(0), vector(0))
        for file in store.folder.iterdir():
            file.unlink()
        store.folder.rmdir()
        writer.append(digest(1), vector(1))
    assert present(store, 2) == set()
    store.merge()
    fill(store, 0, 2)
    assert present(store, 2) == {0, 1}


def _write(root: Path, start: int) -> None:
    fill(store_in(root), start, start + 300)


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_write, args=(tmp_path, start)) for start in (0, 150)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    store = store_in(tmp_path)
    assert len(segments(store)) == 2
    assert present(store, 450) == set(range(450))


# --- merging -----------------------------------------------------------------------------------


def test_few_segments_are_left_alone(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for number in range(16):
        fill(store, number, number + 1)
    before = segments(store)
    store.merge()
    assert segments(store) == before and len(before) == 16


def test_many_segments_become_one_without_copies_or_damage(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for number in range(20):
        fill(store, number, number + 3)  # each record is there up to three times
    damaged = segments(store)[0]
    data = bytearray(damaged.read_bytes())
    data[HEADER + 40] ^= 1
    damaged.write_bytes(data)
    before = present(store, 22)
    store.merge()
    assert len(segments(store)) == 1
    assert segments(store)[0].stat().st_size == HEADER + len(before) * RECORD
    assert present(store, 22) == before
    assert len(before) >= 21


def test_a_segment_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for number in range(20):
        fill(store, number, number + 1)
    with store.writer() as writer:
        writer.append(digest(20), vector(20))
        store.merge()
        assert writer.path in segments(store) and len(segments(store)) == 2
        writer.append(digest(21), vector(21))
    assert present(store, 22) == set(range(22))


def test_only_one_merges_at_a_time(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for number in range(20):
        fill(store, number, number + 1)
    with FileLock(store.folder / "merge.lock"):
        store.merge()
        assert len(segments(store)) == 20
    store.merge()
    assert len(segments(store)) == 1


# --- disks -------------------------------------------------------------------------------------

FULL_DISK = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_vector_store import HEADER, RECORD, digest, fill, present, segments, store_in, vector
from sharpeye.errors import EnvironmentFault

def disk_of(size):
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

store = store_in(Path(sys.argv[1]))
"""


def with_full_disk(tmp_path: Path, script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK + script, str(tmp_path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(os.name == "nt", reason="no limits on file sizes here")
def test_a_disk_that_runs_full_within_a_record_says_so(tmp_path: Path) -> None:
    out = with_full_disk(
        tmp_path,
        """
with store.writer() as writer:
    disk_of(HEADER + 2 * RECORD + RECORD // 2)
    for number in range(4):
        try:
            writer.append(digest(number), vector(number))
        except EnvironmentFault as error:
            print(number, error)
            break
""",
    )
    assert out.startswith("2 cannot write ") and "free some room" in out
    store = store_in(tmp_path)
    assert present(store, 4) == {0, 1}
    fill(store, 2, 4)
    assert present(store, 4) == {0, 1, 2, 3}


@pytest.mark.skipif(os.name == "nt", reason="no limits on file sizes here")
def test_a_disk_without_room_for_the_header_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    out = with_full_disk(
        tmp_path,
        """
fill(store, 0, 1)
disk_of(10)
try:
    store.writer().__enter__()
except EnvironmentFault as error:
    print(error)
""",
    )
    assert "free some room" in out
    assert len(segments(store_in(tmp_path))) == 1


@pytest.mark.skipif(os.name == "nt", reason="no limits on file sizes here")
def test_a_merge_on_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    with_full_disk(
        tmp_path,
        """
for number in range(20):
    fill(store, number, number + 1)
disk_of(HEADER + 5 * RECORD + 3)
store.merge()
disk_of(resource.RLIM_INFINITY)
assert present(store, 20) == set(range(20))
store.merge()  # the locks of the first attempt are gone
assert len(segments(store)) == 1
""",
    )
    assert present(store_in(tmp_path), 20) == set(range(20))


def test_a_cache_that_cannot_be_made_is_an_environment_fault(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("a file where the folder should be")
    store = store_in(tmp_path)
    assert dict(store.read([digest(0)])) == {}
    with pytest.raises(EnvironmentFault, match="a file is where a folder should be"):
        store.writer().__enter__()
    store.merge()


def test_a_store_logs_nothing_when_all_is_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "sharpeye"):
        store = store_in(tmp_path)
        fill(store, 0, 3)
        present(store, 5)
    assert caplog.text == ""


@pytest.mark.parametrize("columns", [slice(0, 2), slice(2, None), slice(None)])
def test_a_part_of_the_vectors_is_read(columns: slice, tmp_path: Path) -> None:
    store = VectorStore({"backbone": "x"}, WIDTH, tmp_path)
    with store.writer() as writer:
        for number in range(4):
            writer.append(digest(number), vector(number))
    (segment,) = store.folder.glob("*.seg")
    content = bytearray(segment.read_bytes())
    content[HEADER + RECORD + 32 + 4 * WIDTH - 1] ^= 1  # in the last column of the second record
    segment.write_bytes(content)
    stored = dict(store.read([digest(number) for number in range(4)], columns))
    assert set(stored) == {digest(number) for number in (0, 2, 3)}  # damaged as a whole
    for number in (0, 2, 3):
        assert stored[digest(number)].tobytes() == vector(number)[columns].tobytes()


def test_a_cache_that_may_not_be_read_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store_in(tmp_path), 0, 3)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "glob", refuse)
    assert present(store_in(tmp_path), 3) == set()
    assert store_in(tmp_path).count([digest(0)]) == 0
