"""A training run that is killed, stopped, crowded, or robbed of its cache or its disk.

Whatever happens: what is there counts as a finished model only if it is whole, and the same
command run again ends well, with the result of a run that nothing happened to.
"""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import sharpeye
from runner import (
    FILES,
    SMALL,
    call,
    environment,
    hard_photos,
    one_line,
    same_model,
    scores_of,
    share_backbones,
    start,
    temporaries,
    train_args,
    tree,
)
from sharpeye.artefact.session import open_model
from sharpeye.core.inference import Backbone
from sharpeye.core.storage import TEMPORARY_PREFIX, FileLock

resource = pytest.importorskip("resource", reason="limits and signals of POSIX")
pytestmark = pytest.mark.slow  # The small tier of tests/battery has faster siblings of all of them.
SEED = 20260101
STOPPED = "error: stopped; what was computed is kept: run the same command again to go on"
END_WITHIN = 5.0  # seconds from a signal to the end of the process


def train_again(data: Path, output: Path) -> Path:
    """The same training once more, in this process; returns the run directory."""
    return sharpeye.train(data, output=output, overwrite=True, model__image_size=64).path


def same_result(run_dir: Path, undisturbed: Path) -> None:
    """Fail unless a run is whole and found what the undisturbed one found."""
    assert sorted(path.name for path in run_dir.iterdir()) == list(FILES)
    open_model(run_dir)
    result, expected = sharpeye.Run(run_dir), sharpeye.Run(undisturbed)
    assert scores_of(result.metrics) == scores_of(expected.metrics)
    for name in ("split.csv", "predictions.csv", "misclassified.csv", "labels.txt"):
        assert (run_dir / name).read_bytes() == (undisturbed / name).read_bytes()
    same_model(run_dir, undisturbed)


def whole_or_unfinished(run_dir: Path, undisturbed: Path) -> bool:
    """Whether a run directory counts as finished; if it does, it must be whole."""
    if not (run_dir / "bundle.json").exists():
        with pytest.raises(sharpeye.SharpEyeError):
            sharpeye.load(run_dir)
        return False
    present = {path.name for path in run_dir.iterdir() if path.name != ".lock"}
    assert present == set(FILES)
    open_model(run_dir)
    same_model(run_dir, undisturbed)
    return True


def wait_for(condition: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    """Wait until something is seen, or the process has ended."""
    end = time.monotonic() + 60
    while not condition() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.002)


def finish(process: "subprocess.Popen[str]", timeout: float = 60) -> tuple[int, str]:
    """The exit code of a process, and what it said on stderr."""
    try:
        _, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
        process.wait()
    return process.returncode, err


# --- killed --------------------------------------------------------------------------------------


def check_kill(delay: float, hard: Path, output: Path, cache: Path, undisturbed: Path) -> bool:
    """Kill a run after a delay, look, and run it again. Returns whether it was still running."""
    process = start(*train_args(hard, output), cache=cache)
    time.sleep(delay)
    process.kill()
    finish(process)
    finished = output.exists() and whole_or_unfinished(output, undisturbed)
    again = train_again(hard, output)
    assert again == output
    same_result(again, undisturbed)
    assert temporaries(output.parent) == []
    return not finished


def kill_moments(count: int, longest: float) -> list[float]:
    choose = random.Random(SEED)
    step = longest / count  # one in each stretch: chance alone would leave gaps
    return [round((place + choose.random()) * step, 3) for place in range(count)]


@pytest.mark.parametrize("delay", kill_moments(40, 2.4))
def test_killed_at_any_moment(
    delay: float, hard: Path, undisturbed: Path, warm: Path, tmp_path: Path
) -> None:
    check_kill(delay, hard, tmp_path / "run", warm, undisturbed)


# Ends its process at the N-th change of the file system, as if the power had gone just then.
# Python tells an audit hook of each change before it makes it.
_DIE_AT = """\
import os, sys
left = int(sys.argv.pop(1))

def hook(event, arguments):
    global left
    opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
    if opened or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir"):
        place = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes) else ""
        if not place.endswith((".pyc", "null")) and "__pycache__" not in place:
            left -= 1
            if not left:
                os._exit(137)

from sharpeye.cli.app import run
sys.addaudithook(hook)
code = run(sys.argv[1:])
print("left", left)
sys.exit(code)
"""


def die_at(
    change: int, hard: Path, output: Path, cache: Path
) -> "subprocess.CompletedProcess[str]":
    program = [sys.executable, "-c", _DIE_AT, str(change), *train_args(hard, output)]
    return subprocess.run(
        program, env=environment(cache), capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="session")
def changes(hard: Path, session_cache: Path, backbone: Backbone) -> int:
    """How often a training run with a cached backbone changes the file system."""
    cache = share_backbones(session_cache, hard.parent / "counted-cache")
    done = die_at(1_000_000, hard, hard.parent / "counted", cache)
    assert done.returncode == 0, done.stderr
    return 1_000_000 - int(done.stdout.split()[-1])


def check_death(change: int, hard: Path, output: Path, cache: Path, undisturbed: Path) -> None:
    done = die_at(change, hard, output, cache)
    assert done.returncode == 137, done.stderr
    if output.exists():
        whole_or_unfinished(output, undisturbed)
    again = train_again(hard, output)
    same_result(again, undisturbed)
    assert again == output
    assert temporaries(output.parent) == []


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_power_gone_at_a_change_of_the_disk(
    share: float, changes: int, hard: Path, undisturbed: Path, warm: Path, tmp_path: Path
) -> None:
    assert changes > 30
    check_death(1 + int(share * changes), hard, tmp_path / "run", warm, undisturbed)


def test_power_gone_at_every_change_of_the_disk(
    changes: int, hard: Path, undisturbed: Path, session_cache: Path, tmp_path: Path
) -> None:
    for change in range(1, changes + 1):
        folder, cache = tmp_path / "out", tmp_path / "cache"
        folder.mkdir()
        share_backbones(session_cache, cache)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SHARPEYE_CACHE", str(cache))
            check_death(change, hard, folder / "run", cache, undisturbed)
        shutil.rmtree(folder)
        shutil.rmtree(cache)


# --- stopped -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "delay"),
    [(number, delay) for number in (signal.SIGINT, signal.SIGTERM) for delay in (0.0, 0.25, 0.6)],
)
def test_stopped_by_a_signal(
    number: signal.Signals, delay: float, hard: Path, undisturbed: Path, warm: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    process = start(*train_args(hard, output, "--quiet"), cache=warm)
    wait_for(output.exists, process)
    time.sleep(delay)
    process.send_signal(number)
    sent = time.monotonic()
    code, err = finish(process)
    assert time.monotonic() - sent < END_WITHIN
    if code == 0:  # the signal came when all was done
        assert delay > 0
        same_result(output, undisturbed)
        return
    assert code == 128 + number
    assert one_line(err) == STOPPED
    assert temporaries(tmp_path) == []
    finished = output.exists() and whole_or_unfinished(output, undisturbed)
    if output.exists() and not finished:  # stopped in the instant in which it was being claimed
        assert {path.name for path in output.iterdir()} <= {".lock"}
    again = train_again(hard, output)
    assert again == output
    same_result(again, undisturbed)


def test_a_stopped_run_goes_on_with_what_it_had_computed(warm: Path, tmp_path: Path) -> None:
    many = hard_photos(tmp_path / "many", per_class=50)
    process = start(*train_args(many, tmp_path / "run", "--quiet"), cache=warm)

    def stored() -> int:
        return sum(file.stat().st_size for file in (warm / "features").glob("*/*.seg"))

    wait_for(lambda: stored() > 200_000, process)
    process.send_signal(signal.SIGTERM)
    code, err = finish(process)
    assert (code, one_line(err)) == (143, STOPPED)
    assert not (tmp_path / "run").exists()
    done = call(*train_args(many, tmp_path / "run"), cache=warm)
    assert done.returncode == 0, done.stderr
    reports = next(line for line in done.stderr.splitlines() if "from the cache" in line)
    computed, cached = [int(word) for word in reports.split() if word.isdigit()][2:]
    assert computed + cached == 150
    assert cached >= 10
    fresh = share_backbones(warm, tmp_path / "fresh")
    assert call(*train_args(many, tmp_path / "whole"), cache=fresh).returncode == 0
    same_result(tmp_path / "run", tmp_path / "whole")


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "State:\tZ" not in status


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="children are looked up in /proc"
)


@needs_proc
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        signal.SIGINT,
        signal.SIGTERM,
    ],
)
def test_stopped_while_the_backbone_is_converted(
    number: signal.Signals, hard: Path, cache: Path, tmp_path: Path
) -> None:
    process = start(*train_args(hard, tmp_path / "run", "--quiet"), cache=cache)
    wait_for(lambda: children(process.pid), process)
    converter = children(process.pid)[0]
    time.sleep(1.0)
    assert alive(converter)
    process.send_signal(number)
    sent = time.monotonic()
    code, err = finish(process)
    while alive(converter) and time.monotonic() - sent < 2 * END_WITHIN:
        time.sleep(0.02)
    assert not alive(converter)
    assert time.monotonic() - sent < END_WITHIN
    if number == signal.SIGKILL:  # nobody could clean up: the next run takes the directory over
        assert code == -signal.SIGKILL
        assert not (tmp_path / "run" / "bundle.json").exists()
        return
    assert (code, one_line(err)) == (128 + number, STOPPED)
    assert not (tmp_path / "run").exists()
    assert temporaries(cache) == []


# --- several at once -----------------------------------------------------------------------------


def test_two_trainings_on_one_cold_cache(
    hard: Path, undisturbed: Path, warm: Path, tmp_path: Path
) -> None:
    outputs = [tmp_path / name for name in ("one", "two")]
    processes = [start(*train_args(hard, output, "--quiet"), cache=warm) for output in outputs]
    assert [finish(process) for process in processes] == [(0, ""), (0, "")]
    for output in outputs:
        same_result(output, undisturbed)
    assert len(list((warm / "features").iterdir())) == 1
    assert temporaries(warm) == []


def check_same_output(hard: Path, undisturbed: Path, warm: Path, folder: Path, count: int) -> None:
    processes = [
        start(*train_args(hard, folder / "run", "--quiet"), cache=warm) for _ in range(count)
    ]
    codes = []
    for process in processes:
        code, err = finish(process)
        codes.append(code)
        if code == 6:
            assert "is being written by another run" in one_line(err)
    assert set(codes) <= {0, 6}, codes
    runs = sorted(folder.iterdir())
    assert len(runs) == codes.count(0) >= 1
    for run_dir in runs:
        same_result(run_dir, undisturbed)


def test_two_trainings_with_the_same_output(
    hard: Path, undisturbed: Path, warm: Path, tmp_path: Path
) -> None:
    (tmp_path / "runs").mkdir()
    check_same_output(hard, undisturbed, warm, tmp_path / "runs", 2)


@pytest.mark.parametrize("count", [2, 3, 4] * 8)
def test_many_trainings_with_the_same_output(
    count: int, hard: Path, undisturbed: Path, warm: Path, tmp_path: Path
) -> None:
    (tmp_path / "runs").mkdir()
    check_same_output(hard, undisturbed, warm, tmp_path / "runs", count)


def test_an_output_that_is_held_ends_with_6_and_is_free_once_its_holder_is_gone(
    hard: Path, undisturbed: Path, warm: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / ".lock"):
        done = call(*train_args(hard, tmp_path / "run", "--quiet"), cache=warm)
        assert done.returncode == 6
        assert "choose another --output" in one_line(done.stderr)
        assert [path.name for path in tmp_path.iterdir()] == ["run"]
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
    same_result(train_again(hard, tmp_path / "run"), undisturbed)


# --- the cache -----------------------------------------------------------------------------------


def test_features_and_split_can_be_deleted_between_runs(
    hard: Path, undisturbed: Path, warm: Path, tmp_path: Path
) -> None:
    same_result(train_again(hard, tmp_path / "one"), undisturbed)
    for name in ("features", "splits"):
        shutil.rmtree(warm / name)
    same_result(train_again(hard, tmp_path / "two"), undisturbed)


def test_features_and_split_can_be_deleted_while_a_run_uses_them(
    hard: Path, undisturbed: Path, warm: Path, tmp_path: Path
) -> None:
    process = start(*train_args(hard, tmp_path / "run"), cache=warm)
    deleted = 0
    while process.poll() is None:
        for name in ("features", "splits"):
            if (warm / name).exists():
                deleted += 1
                shutil.rmtree(warm / name, ignore_errors=True)
        time.sleep(0.005)
    code, err = finish(process)
    assert deleted
    assert code == 0, err
    same_result(tmp_path / "run", undisturbed)


def test_the_whole_cache_can_be_deleted_while_a_run_uses_it(
    hard: Path, undisturbed: Path, warm: Path, tmp_path: Path
) -> None:
    process = start(*train_args(hard, tmp_path / "run"), cache=warm)
    wait_for((warm / "features").exists, process)
    shutil.rmtree(warm, ignore_errors=True)
    code, err = finish(process)
    assert code == 0, err
    same_result(tmp_path / "run", undisturbed)


def test_two_trainings_on_an_empty_cache_convert_once(
    hard: Path, undisturbed: Path, cache: Path, tmp_path: Path
) -> None:
    outputs = [tmp_path / name for name in ("one", "two")]
    processes = [start(*train_args(hard, output), cache=cache) for output in outputs]
    reports = ""
    for process in processes:
        code, err = finish(process, timeout=120)
        assert code == 0, err
        reports += err
    assert reports.count("preparing efficientnet_lite0") == 1
    for output in outputs:
        same_result(output, undisturbed)
    assert temporaries(cache) == []


@pytest.mark.parametrize(
    "damage",
    [
        "bits",
        "the header",
        "the end",
        "all",
    ],
)
def test_a_damaged_feature_segment_is_computed_again(
    damage: str, hard: Path, undisturbed: Path, warm: Path, tmp_path: Path
) -> None:
    train_again(hard, tmp_path / "first")
    segment = next((warm / "features").glob("*/*.seg"))
    data = bytearray(segment.read_bytes())
    if damage == "bits":
        for place in range(99, len(data), 1000):  # high bits of floats, in every record
            data[place] ^= 0x40
    elif damage == "the header":
        data[0] ^= 1
    elif damage == "the end":
        del data[-1000:]
    else:
        data[:] = np.random.default_rng(0).bytes(len(data))
    segment.write_bytes(data)
    same_result(train_again(hard, tmp_path / "run"), undisturbed)


def test_a_damaged_backbone_is_made_again(
    hard: Path, undisturbed: Path, cache: Path, session_cache: Path, tmp_path: Path
) -> None:
    share_backbones(session_cache, cache, link=False)
    (graph,) = (cache / "backbones").glob("*-64-*.onnx")
    data = bytearray(graph.read_bytes())
    data[len(data) // 3] ^= 1
    graph.write_bytes(data)
    done = call(*train_args(hard, tmp_path / "run"), cache=cache)
    assert done.returncode == 0, done.stderr
    assert "is damaged and made again" in done.stderr
    same_result(tmp_path / "run", undisturbed)
    assert graph.read_bytes() != data


def test_a_cache_that_takes_no_features_costs_a_warning(
    hard: Path, undisturbed: Path, warm: Path, tmp_path: Path
) -> None:
    for name in ("features", "splits"):
        (warm / name).write_text("a file where a folder should be")
    done = call(*train_args(hard, tmp_path / "run"), cache=warm)
    assert done.returncode == 0, done.stderr
    assert "warning: features are not cached" in done.stderr
    assert "warning: the split is not remembered" in done.stderr
    same_result(tmp_path / "run", undisturbed)


def test_a_cache_that_cannot_be_made_ends_with_5(hard: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    done = call(*train_args(hard, tmp_path / "run", "--quiet"), cache=tmp_path / "file" / "cache")
    assert done.returncode == 5
    assert str(tmp_path / "file" / "cache") in one_line(done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_torn_ledger_line_is_ignored(
    hard: Path, undisturbed: Path, warm: Path, tmp_path: Path
) -> None:
    train_again(hard, tmp_path / "first")
    (ledger,) = (warm / "splits").glob("*.txt")
    text = ledger.read_text(encoding="ascii")
    ledger.write_text(text[:-20], encoding="ascii")
    same_result(train_again(hard, tmp_path / "run"), undisturbed)
    assert ledger.read_text(encoding="ascii").splitlines()[-1] == text.splitlines()[-1]


# --- the disk is full ----------------------------------------------------------------------------


def limit_files(size: int) -> Callable[[], None]:
    """No file may grow beyond this: the system answers as it does when a disk is full."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize(
    "size",
    [
        600,
        100_000,
        3_000,
        5_000_000,
    ],
)
def test_a_full_disk_ends_with_5_and_leaves_nothing_half_written(
    size: int, hard: Path, undisturbed: Path, warm: Path, tmp_path: Path
) -> None:
    train_again(hard, tmp_path / "run")
    shutil.rmtree(warm / "features")
    before = tree(tmp_path / "run")
    arguments = train_args(hard, tmp_path / "run", "--overwrite")
    done = call(*arguments, cache=warm, preexec=limit_files(size))
    assert done.returncode == 5, done.stderr
    lines = done.stderr.splitlines()
    assert lines[-1].startswith(f"error: cannot write {tmp_path / 'run'}")
    assert TEMPORARY_PREFIX not in lines[-1]
    assert "free some room" in lines[-1]
    assert [line for line in lines[:-1] if "rror" in line or "Traceback" in line] == []
    assert tree(tmp_path / "run") == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("run")] == ["run"]
    assert temporaries(warm) == []
    same_result(train_again(hard, tmp_path / "run"), undisturbed)


# --- the data change underfoot -------------------------------------------------------------------


def test_a_replaced_image_is_never_answered_for_by_the_cache(warm: Path, tmp_path: Path) -> None:
    data = hard_photos(tmp_path / "hard")
    train_again(data, tmp_path / "first")
    image, other = data / "ash" / "ash1.png", data / "cedar" / "cedar2.png"
    stamp = image.stat()
    image.write_bytes(other.read_bytes()[: stamp.st_size].ljust(stamp.st_size, b"\0"))
    os.utime(image, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # same name, size and time
    run_dir = train_again(data, tmp_path / "second")
    with (run_dir / "split.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["path"]: row["sha256"] for row in csv.DictReader(file)}
    with (tmp_path / "first" / "split.csv").open(encoding="utf-8", newline="") as file:
        old = {row["path"]: row["sha256"] for row in csv.DictReader(file)}
    assert rows.get("ash/ash1.png") != old["ash/ash1.png"]
    shutil.rmtree(warm / "features")
    same_result(train_again(data, tmp_path / "third"), run_dir)


def test_images_deleted_while_a_run_reads_them_are_named(warm: Path, tmp_path: Path) -> None:
    data = hard_photos(tmp_path / "many", per_class=80)
    process = start("train", data, "-o", tmp_path / "run", *SMALL, cache=warm)
    wait_for(lambda: any((warm / "features").glob("*/*.seg")), process)
    for number in range(70, 80):
        (data / "cedar" / f"cedar{number}.png").unlink()
    code, err = finish(process)
    assert code == 0, err
    with (tmp_path / "run" / "quarantine.csv").open(encoding="utf-8", newline="") as file:
        gone = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert set(gone) <= {f"cedar/cedar{number}.png" for number in range(70, 80)}
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["count"] > 0
