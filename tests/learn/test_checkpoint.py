"""Checkpoints: what is read is what was written, or it is not read at all."""

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
from sharpeye.learn.nets.checkpoint import Checkpoint, Checkpoints, load_arrays, save_arrays

SEED = 20260102


@pytest.fixture(autouse=True)
def _always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each checkpoint is written, however long the one before took."""
    monkeypatch.setattr(checkpoint, "_SHARE", float("inf"))


def arrays(seed: int, count: int = 12) -> list[Any]:
    made = np.random.default_rng(seed)
    found: list[Any] = [made.normal(size=(seed + 2, i)).astype(np.float32) for i in range(count)]
    return [*found, np.array(7, np.int64), np.array([1, 2**32 - 1], np.uint32), np.float32(0.5)]


def save(folder: Path, *epochs: int) -> Checkpoints:
    store = Checkpoints(folder)
    for epoch in epochs:
        about = {"history": [{"epoch": epoch, "log_loss": 0.1}], "planned": 9, "seconds": 1.25}
        store.save(Checkpoint(epoch, about, arrays(epoch), arrays(epoch + 1)))
    return store


def check(found: Checkpoint | None, epoch: int) -> None:
    assert found is not None
    assert found.epoch == epoch
    assert found.about["history"] == [{"epoch": epoch, "log_loss": 0.1}]
    for got, wanted in ((found.state, arrays(epoch)), (found.best, arrays(epoch + 1))):
        assert len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == np.asarray(other).dtype


def test_the_newest_comes_back_as_it_was(tmp_path: Path) -> None:
    save(tmp_path / "c", 1, 2, 3)
    check(Checkpoints(tmp_path / "c").latest(), 3)


def test_two_are_kept_and_no_temporary_file(tmp_path: Path) -> None:
    save(tmp_path, 8, 9, 10, 11)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["epoch-000010.npz", "epoch-000011.npz"]
    assert temporaries(tmp_path) == []


def test_where_there_is_none_there_is_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "nowhere").latest() is None
    assert Checkpoints(tmp_path).latest() is None


def test_arrays_keep_their_order_beyond_ten_and_a_hundred(tmp_path: Path) -> None:
    many = [np.full(1, i) for i in range(120)]
    save_arrays(tmp_path / "a.npz", {"text": "ä"}, one=many, other=many[::-1])
    about, groups = load_arrays(tmp_path / "a.npz")
    assert about == {"text": "ä"}
    assert [int(a[0]) for a in groups["one"]] == list(range(120))
    assert [int(a[0]) for a in groups["other"]] == list(range(120))[::-1]


def test_there_is_no_code_in_them(tmp_path: Path) -> None:
    hostile = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "epoch-000001.npz", about=hostile, allow_pickle=True)
    assert Checkpoints(tmp_path).latest() is None


def test_a_damaged_one_is_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 1, 2)
    newest = tmp_path / "epoch-000002.npz"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    check(Checkpoints(tmp_path).latest(), 1)
    assert "epoch-000002.npz is damaged, the one before it is used" in caplog.text


@pytest.mark.parametrize("kind", ["cut", "flipped", "zeros", "empty", "text"])
def test_no_damage_is_taken_for_a_checkpoint(kind: str, tmp_path: Path) -> None:
    """Whatever happened to the newest, it is read as it was written or the one before is."""
    save(tmp_path, 1, 2)
    newest = tmp_path / "epoch-000002.npz"
    whole, choose = newest.read_bytes(), random.Random(SEED)
    for _ in range(60 if kind in ("cut", "flipped", "zeros") else 1):
        place = choose.randrange(len(whole))
        damaged = bytearray(whole)
        if kind == "cut":
            del damaged[place:]
        elif kind == "flipped":
            # The names and flags of the archive are in its last part.
            place = choose.choice([place, len(whole) - 1 - choose.randrange(2000)])
            damaged[place] ^= 1 << choose.randrange(8)
        elif kind == "zeros":
            damaged[place : place + 512] = bytes(len(damaged[place : place + 512]))
        else:
            damaged[:] = b"" if kind == "empty" else b"no archive"
        newest.write_bytes(damaged)
        found = Checkpoints(tmp_path).latest()
        assert found is not None
        check(found, found.epoch)


def test_one_of_another_layout_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path, 1)
    with zipfile.ZipFile(tmp_path / "epoch-000002.npz", "w") as archive:
        archive.writestr("readme.txt", "no arrays")
    np.savez(tmp_path / "epoch-000003.npz", about=np.frombuffer(b"[]", np.uint8))
    check(Checkpoints(tmp_path).latest(), 1)


def test_writing_takes_a_tenth_of_the_time_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_SHARE", 0.1)
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    slow = checkpoint.save_arrays

    def save_slowly(*args: Any, **groups: Any) -> None:
        slow(*args, **groups)
        now[0] += 2.0

    monkeypatch.setattr(checkpoint, "save_arrays", save_slowly)
    store = Checkpoints(tmp_path)
    written = []
    for epoch in range(1, 50):
        before = now[0]
        store.save(Checkpoint(epoch, {}, [np.zeros(1)], []))
        written.append(now[0] > before)
        now[0] += 1.0  # an epoch
    assert sum(written) == 3
    store.save(Checkpoint(50, {}, [np.zeros(1)], []), last=True)
    assert max(f.name for f in tmp_path.iterdir()) == "epoch-000050.npz"


def test_a_full_disk_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = save(tmp_path, 1)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(EnvironmentFault, match=r"epoch-000002\.npz: No space left"):
        store.save(Checkpoint(2, {}, arrays(2), []))
    check(Checkpoints(tmp_path).latest(), 1)
    assert temporaries(tmp_path) == []
