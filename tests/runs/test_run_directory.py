"""A finished run as its reader sees it."""

import errno
import os
from pathlib import Path

import pytest

from runner import tree
from sharpeye.core.config import Config
from sharpeye.core.storage import TEMPORARY_PREFIX
from sharpeye.errors import BusyError, DataError, EnvironmentFault, UsageError
from sharpeye.runs import layout, run_folder
from sharpeye.runs.run_directory import Run, RunWriter
from sharpeye.runs.run_folder import IfExists


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run directory that holds a configuration and the file that marks it as finished."""
    config = Config().replace({"seed": 7, "data.folder": str(tmp_path / "photos")})
    with RunWriter(tmp_path / "run") as run_dir:
        run_dir.write_text(layout.CONFIG, config.to_toml())
        run_dir.write_text(layout.BUNDLE, "{}")
    return Run(tmp_path / "run")


def test_config_is_the_one_that_was_written(run: Run, tmp_path: Path) -> None:
    assert run.config == Config().replace({"seed": 7, "data.folder": str(tmp_path / "photos")})
    assert run.config is run.config


def test_a_missing_configuration_is_named(run: Run) -> None:
    (run.path / layout.CONFIG).unlink()
    with pytest.raises(DataError, match=r"run is no whole run directory: it has no config\.toml; "):
        _ = run.config


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"= [", r"config\.toml is not TOML: "),
        (b"\xff", r"config\.toml is not TOML: "),
        (b"seed = 'seven'", r"in .*config\.toml"),
        (b"sead = 7", r"in .*config\.toml"),
    ],
)
def test_an_unreadable_configuration_is_a_data_error(
    run: Run, content: bytes, message: str
) -> None:
    (run.path / layout.CONFIG).write_bytes(content)
    with pytest.raises(DataError, match=message):
        _ = run.config


def test_a_configuration_that_is_a_folder_is_missing(run: Run) -> None:
    (run.path / layout.CONFIG).unlink()
    (run.path / layout.CONFIG).mkdir()
    with pytest.raises(DataError, match="has no config"):
        _ = run.config


def test_tables_are_read_by_column(run: Run) -> None:
    (run.path / "some.csv").write_text("path,score\na,1\n", encoding="utf-8")
    assert run.table("some.csv") == [{"path": "a", "score": "1"}]


HEADER = "path,label,part,sha256,group\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "it lists no image"),
        (HEADER, "it lists no image"),
        (HEADER + "a/1.jpg,a,holdout,,\n", "a part in it is none of train, validation, test"),
        (HEADER + "a/1.jpg,a,,,\n", "a part in it is none of train, validation, test"),
        (HEADER + "a/1.jpg,a,train,xyz,\n", "a SHA-256 in it is none"),
        (HEADER + "a/1\0.jpg,a,train,,\n", "null character"),
        ("\0" * 200, "it lists no image"),
        ("path,label\na/1.jpg,a\n", "it has no column part, sha256, group"),
    ],
)
def test_a_damaged_split_is_a_data_error(run: Run, content: str, reason: str) -> None:
    (run.path / layout.SPLIT).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=rf"split\.csv is damaged: .*{reason}"):
        run.table(layout.SPLIT)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_split_of_one_image_is_read(run: Run, part: str) -> None:
    (run.path / layout.SPLIT).write_text(f"{HEADER}a/1.jpg,a,{part},,\n", encoding="utf-8")
    assert [row["part"] for row in run.table(layout.SPLIT)] == [part]


def finish(path: Path, seed: int) -> Path:
    """Write a finished run with `seed` in its configuration, and return its directory."""
    with RunWriter(path, if_exists="replace") as run_dir:
        assert run_dir.final_path == path
        run_dir.write_text(layout.CONFIG, Config().replace({"seed": seed}).to_toml())
        run_dir.write_text(layout.BUNDLE, "{}")
    return run_dir.path


def test_a_run_replaces_another_only_when_it_is_finished(run: Run) -> None:
    before = tree(run.path.parent)
    for error in (KeyboardInterrupt, DataError):
        with pytest.raises(error), RunWriter(run.path, if_exists="replace") as run_dir:
            run_dir.write_text(layout.CONFIG, "half")
            assert Run(run.path).config.seed == 7
            raise error
        assert tree(run.path.parent) == before
    assert finish(run.path, 8) == run.path
    assert Run(run.path).config.seed == 8
    assert [path.name for path in run.path.parent.iterdir()] == ["run"]


def test_two_runs_do_not_replace_the_same_one_at_once(run: Run) -> None:
    with RunWriter(run.path, if_exists="replace") as run_dir:
        with pytest.raises(BusyError):
            RunWriter(run.path, if_exists="replace")
        run_dir.write_text(layout.BUNDLE, "{}")


def test_only_a_run_is_replaced(run: Run, tmp_path: Path) -> None:
    (run.path / "thesis.tex").write_text("years of work")
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.jpg").write_bytes(b"")
    before = tree(tmp_path)
    for path, name in ((run.path, "thesis.tex"), (photos, "cat.jpg")):
        with pytest.raises(UsageError, match=f"only runs of SharpEye, and .* holds {name}"):
            RunWriter(path, if_exists="replace")
    assert tree(tmp_path) == before
    assert finish(tmp_path / "new", 1) == tmp_path / "new"


@pytest.mark.parametrize("renames", [0, 1])
def test_a_failed_rename_leaves_the_old_run(
    run: Run, renames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, done = Path.rename, []

    def fail(path: Path, target: Path) -> Path:
        if len(done) == renames:
            done.append(path)
            raise OSError(28, "No space left on device")
        done.append(path)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    monkeypatch.setattr("sharpeye.core.atomic_folder.exchange_names", lambda *_: False)
    with pytest.raises(EnvironmentFault, match="cannot write"):
        finish(run.path, 8)
    assert Run(run.path).config.seed == 7
    assert [path.name for path in run.path.parent.iterdir()] == ["run"]


def test_a_folder_beside_the_run_that_cannot_be_made_is_named_by_the_run(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))

    before = tree(run.path)
    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(EnvironmentFault, match=f"^cannot write {run.path}: No space left"):
        RunWriter(run.path, if_exists="replace")
    assert tree(run.path) == before
    assert not (run.path / ".lock").exists()


# --- a directory that is not free ----------------------------------------------------------------


def leave_unfinished(path: Path, *, checkpoint: bool) -> Path:
    """What a run leaves that was killed, after its first checkpoint or before."""
    path.mkdir(parents=True)
    (path / layout.CONFIG).write_text(Config().to_toml(), encoding="utf-8")
    (path / layout.CHECKPOINTS).mkdir()
    if checkpoint:
        (path / layout.CHECKPOINTS / "epoch-000001.npz").write_bytes(b"weights")
    return path


def test_a_finished_run_is_an_error_that_says_what_to_do(run: Run) -> None:
    before = tree(run.path)
    with pytest.raises(UsageError, match="--overwrite replaces it, or choose another --output"):
        RunWriter(run.path)
    assert tree(run.path) == before


@pytest.mark.parametrize("if_exists", ["error", "number"])
def test_a_run_that_another_one_finished_meanwhile_holds_no_lock(
    run: Run, if_exists: IfExists, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory is free when this run looks, and finished when it has the lock."""
    before, state, looks = tree(run.path), run_folder._state, []

    def first_free(path: Path) -> str:
        looks.append(path)
        return "free" if len(looks) == 1 else state(path)

    monkeypatch.setattr(run_folder, "_state", first_free)
    if if_exists == "error":
        with pytest.raises(UsageError, match="holds a finished run"):
            RunWriter(run.path)
    else:
        with RunWriter(run.path, if_exists=if_exists) as run_dir:
            assert run_dir.path.name == "run-2"
    assert tree(run.path) == before


def test_checkpoints_are_never_dropped_unasked(tmp_path: Path) -> None:
    path = leave_unfinished(tmp_path / "run", checkpoint=True)
    before = tree(path)
    with pytest.raises(UsageError, match=f"--resume --output {path} goes on with it, --overwrite"):
        RunWriter(path)
    with RunWriter(path, if_exists="number") as run_dir:
        assert run_dir.path == tmp_path / "run-2"
        run_dir.write_text(layout.BUNDLE, "{}")
    with RunWriter(path, if_exists="resume") as run_dir:
        assert run_dir.resumed
    assert tree(path) == before
    with RunWriter(path, if_exists="replace") as run_dir:
        assert list(path.iterdir()) == [path / layout.LOCK]
        run_dir.write_text(layout.BUNDLE, "{}")


def test_what_was_left_before_the_first_checkpoint_is_cleared(tmp_path: Path) -> None:
    path = leave_unfinished(tmp_path / "run", checkpoint=False)
    with RunWriter(path) as run_dir:
        assert run_dir.path == path
        assert [entry.name for entry in path.iterdir()] == [layout.LOCK]


def test_a_run_that_is_being_written_is_busy_or_the_next_number_is_taken(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "run"):
        with pytest.raises(BusyError, match="is being written by another run"):
            RunWriter(tmp_path / "run")
        with RunWriter(tmp_path / "run", if_exists="number") as other:
            assert other.path == tmp_path / "run-2"


def test_a_run_that_is_kept_after_an_error_has_no_temporary_files(tmp_path: Path) -> None:
    with pytest.raises(KeyError), RunWriter(tmp_path / "run") as run_dir:
        run_dir.keep = True
        run_dir.write_text("labels.txt", "a\nb\n")
        run_dir.file(f"{TEMPORARY_PREFIX}features.onnx").write_bytes(b"x")
        raise KeyError
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["labels.txt"]


def test_a_stopped_run_that_should_replace_another_becomes_one_beside_it(run: Run) -> None:
    before = tree(run.path)
    with pytest.raises(KeyboardInterrupt), RunWriter(run.path, if_exists="replace") as run_dir:
        run_dir.write_text(layout.CONFIG, Config().to_toml())
        (run_dir.path / layout.CHECKPOINTS).mkdir()
        (run_dir.path / layout.CHECKPOINTS / "epoch-000001.npz").write_bytes(b"weights")
        run_dir.keep = True
        raise KeyboardInterrupt
    assert tree(run.path) == before
    with RunWriter(run.path.with_name("run-2"), if_exists="resume") as run_dir:
        assert (run_dir.path / layout.CHECKPOINTS / "epoch-000001.npz").is_file()


def test_the_current_folder_is_not_replaced(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.path)
    before = tree(run.path)
    with pytest.raises(UsageError, match="the current folder"):
        RunWriter(Path(), if_exists="replace")
    assert tree(run.path) == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metrics.json", "[" * 100_000),
        ("metrics.json", '{"test": {"accuracy": ' + "1" * 5000 + "}}"),
        ("metrics.json", '{"test": 1}'),
        ("metrics.json", "null"),
        ("labels.txt", "\xff"),
        ("split.csv", "path,label\na,b\n"),
        ("split.csv", 'path,label,part,sha256,group\n"a'),
        ("split.csv", "path,label,part,sha256,group\na,b,train,zz,\n"),
        ("predictions.csv", "path,label,predicted,score\na,b\n"),
        ("predictions.csv", ""),
        ("history.csv", "a,b\n1,2,3\n"),
    ],
)
def test_a_damaged_file_of_a_run_is_named_in_one_line(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "bundle.json").write_text("{}")
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    run = Run(tmp_path)
    read = {"metrics.json": lambda: run.metrics, "labels.txt": lambda: run.labels}
    if text == "":
        assert run.table(name) == []
        return
    with pytest.raises(DataError, match=rf"{name} is damaged: .*; train again") as error:
        read.get(name, lambda: run.table(name))()
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
