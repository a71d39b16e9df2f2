"""Checkpoints: what is read equals what was written, or it is not read at all."""

import random
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner import temporaries
from sharpeye.errors import EnvironmentFault
from sharpeye.learn.nets import checkpoint
from sharpeye.learn.nets.checkpoint import Checkpoint, CheckpointFolder, load_arrays, save_arrays

SEED = 20260102


@pytest.fixture(autouse=True)
def _save_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every checkpoint is written, however long the last one took."""
    monkeypatch.setattr(checkpoint, "_MAX_TIME_SHARE", float("inf"))


def arrays(seed: int, count: int = 12) -> list[Any]:
    random = np.random.default_rng(seed)
    floats: list[Any] = [random.normal(size=(seed + 2, i)).astype(np.float32) for i in range(count)]
    return [*floats, np.array(7, np.int64), np.array([1, 2**32 - 1], np.uint32), np.float32(0.5)]


def save(folder: Path, *epochs: int) -> CheckpointFolder:
    store = CheckpointFolder(folder)
    for epoch in epochs:
        metadata = {"history": [{"epoch": epoch, "log_loss": 0.1}], "planned": 9, "seconds": 1.25}
        store.save(Checkpoint(epoch, metadata, arrays(epoch), arrays(epoch + 1)))
    return store


def check(loaded: Checkpoint | None, epoch: int) -> None:
    """Fail unless the checkpoint is the one that `save` wrote for this epoch."""
    assert loaded is not None
    assert loaded.epoch == epoch
    assert loaded.metadata["history"] == [{"epoch": epoch, "log_loss": 0.1}]
    for group, expected in ((loaded.state, arrays(epoch)), (loaded.best, arrays(epoch + 1))):
        assert len(group) == len(expected)
        for array, original in zip(group, expected, strict=True):
            np.testing.assert_array_equal(array, original)
            assert array.dtype == np.asarray(original).dtype


def test_the_newest_is_read_as_it_was_written(tmp_path: Path) -> None:
    save(tmp_path / "c", 1, 2, 3)
    check(CheckpointFolder(tmp_path / "c").latest(), 3)


def test_two_are_kept_and_no_temporary_file(tmp_path: Path) -> None:
    save(tmp_path, 8, 9, 10, 11)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["epoch-000010.npz", "epoch-000011.npz"]
    assert temporaries(tmp_path) == []


def test_the_last_epoch_is_among_those_that_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_MAX_TIME_SHARE", 1e-9)
    store = save(tmp_path, 1, 2, 3)
    assert [f.name for f in tmp_path.iterdir()] == ["epoch-000001.npz"]
    metadata = {"history": [{"epoch": 3, "log_loss": 0.1}]}
    for _ in range(2):
        store.finish(Checkpoint(3, metadata, arrays(3), arrays(4)), 1)
        assert [f.name for f in tmp_path.iterdir()] == ["epoch-000003.npz"]
    check(store.latest(), 3)


def test_a_folder_without_checkpoints_has_no_latest(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "nowhere").latest() is None
    assert CheckpointFolder(tmp_path).latest() is None


def test_arrays_keep_their_order_beyond_ten_and_a_hundred(tmp_path: Path) -> None:
    many = [np.full(1, i) for i in range(120)]
    save_arrays(tmp_path / "a.npz", {"text": "ä"}, one=many, other=many[::-1])
    metadata, groups = load_arrays(tmp_path / "a.npz")
    assert metadata == {"text": "ä"}
    assert [int(a[0]) for a in groups["one"]] == list(range(120))
    assert [int(a[0]) for a in groups["other"]] == list(range(120))[::-1]


def test_pickled_objects_are_not_read(tmp_path: Path) -> None:
    hostile = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "epoch-000001.npz", about=hostile, allow_pickle=True)
    assert CheckpointFolder(tmp_path).latest() is None


def test_a_compressed_member_is_not_unpacked(tmp_path: Path) -> None:
    """It could take any amount of memory, and `numpy.savez` writes none."""
    np.savez_compressed(tmp_path / "epoch-000001.npz", about=np.zeros(2**20, np.uint8))
    with pytest.raises(ValueError, match="cannot be read") as error:
        load_arrays(tmp_path / "epoch-000001.npz")
    assert "a member is compressed" in str(error.value.__cause__)


def test_a_damaged_checkpoint_is_skipped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 1, 2)
    newest = tmp_path / "epoch-000002.npz"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    check(CheckpointFolder(tmp_path).latest(), 1)
    assert "epoch-000002.npz is damaged, the one before it is used" in caplog.text


@pytest.mark.parametrize("kind", ["cut", "flipped", "zeros", "empty", "text"])
def test_no_damaged_file_is_read_as_a_checkpoint(kind: str, tmp_path: Path) -> None:
    """Either the newest is read as it was written, or the one before it is."""
    save(tmp_path, 1, 2)
    newest = tmp_path / "epoch-000002.npz"
    content, choose = newest.read_bytes(), random.Random(SEED)
    for _ in range(60 if kind in ("cut", "flipped", "zeros") else 1):
        position = choose.randrange(len(content))
        damaged = bytearray(content)
        if kind == "cut":
            del damaged[position:]
        elif kind == "flipped":
            # The names and flags of an archive are at its end.
            near_end = len(content) - 1 - choose.randrange(2000)
            damaged[choose.choice([position, near_end])] ^= 1 << choose.randrange(8)
        elif kind == "zeros":
            damaged[position : position + 512] = bytes(len(damaged[position : position + 512]))
        else:
            damaged[:] = b"" if kind == "empty" else b"no archive"
        newest.write_bytes(damaged)
        loaded = CheckpointFolder(tmp_path).latest()
        assert loaded is not None
        check(loaded, loaded.epoch)


def test_an_archive_with_other_contents_is_skipped(tmp_path: Path) -> None:
    save(tmp_path, 1)
    with zipfile.ZipFile(tmp_path / "epoch-000002.npz", "w") as archive:
        archive.writestr("readme.txt", "no arrays")
    np.savez(tmp_path / "epoch-000003.npz", about=np.frombuffer(b"[]", np.uint8))
    check(CheckpointFolder(tmp_path).latest(), 1)


def test_saving_takes_a_tenth_of_the_time_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_MAX_TIME_SHARE", 0.1)
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    save_arrays = checkpoint.save_arrays

    def save_slowly(*args: Any, **groups: Any) -> None:
        save_arrays(*args, **groups)
        now[0] += 2.0

    monkeypatch.setattr(checkpoint, "save_arrays", save_slowly)
    store = CheckpointFolder(tmp_path)
    written = []
    for epoch in range(1, 50):
        before = now[0]
        store.save(Checkpoint(epoch, {}, [np.zeros(1)], []))
        written.append(now[0] > before)
        now[0] += 1.0  # an epoch
    assert sum(written) == 3


def test_a_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = save(tmp_path, 1)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(EnvironmentFault, match=r"epoch-000002\.npz: No space left"):
        store.save(Checkpoint(2, {}, arrays(2), []))
    check(CheckpointFolder(tmp_path).latest(), 1)
    assert temporaries(tmp_path) == []
