"""Folders with links, pipes, depth, too many or too few classes: no hang, and no way out."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from battery.commands import RunCommand, check_printed, command_runner
from battery.hostile_trees import (
    CASES,
    DEVICE,
    UNREADABLE,
    TreeCase,
    many_classes,
    many_folders,
    two_classes,
)
from battery.processes import run_command
from battery.tally import HangError, LossError, Tally, Tier
from runner import SMALL, share_backbones
from sharpeye.core.inference import Backbone
from sharpeye.data.file_walk import original_name

pytestmark = pytest.mark.skipif(os.name == "nt", reason="pipes, sockets and links of POSIX")
_LIMIT = 20  # seconds that a command may take on a small folder


@contextlib.contextmanager
def ended_within(seconds: int) -> Iterator[None]:
    """Raise HangError in what takes longer, instead of hanging with it."""

    def expire(*_: object) -> None:
        raise HangError(f"runs after {seconds} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # again, if a handler caught the first one
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _entries(root: Path) -> dict[str, tuple[int, ...]]:
    """Everything below a folder, links not followed and nothing opened."""
    entries = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                status = os.lstat(path)
                entries[path] = (status.st_mode, status.st_size, status.st_mtime_ns)
    return entries


def _check_commands(root: Path, case: TreeCase, run: RunCommand, model: Path) -> None:
    before, output = _entries(root), root.with_name(f"{root.name}-run")
    checked = run("check", root).check({case.check})
    predicted = run("predict", model, root, "--format", "jsonl").check({0, 3})
    records = [json.loads(line) for line in predicted.out.splitlines()]
    errors = [record["error"] for record in records if "error" in record]
    assert len(records) - len(errors) == case.read, records
    assert len(errors) == case.left_out, errors
    assert predicted.code == (3 if errors or not records else 0)
    reasons = " ".join(errors)
    if case.train:
        trained = run("train", root, "-o", output, *SMALL).check({case.train})
        assert trained.err.count("\n") <= 3 and "error: " in trained.err, trained.err
        check_printed(trained)
        assert not output.exists()
    check_printed(checked)
    assert case.reason in reasons, reasons
    for record in records:
        path = Path(original_name(record["path"]))
        assert path.is_relative_to(root)
        if "error" not in record and not path.resolve().is_relative_to(root.resolve()):
            raise LossError(f"{path} leads out of the folder and was read")
    if before != _entries(root):
        raise LossError(f"{root} has changed")


def test_trees(
    tally: Tally,
    tier: Tier,
    trained: Path,
    tmp_path: Path,
    cache: Path,
    session_cache: Path,
    backbone: Backbone,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Links, pipes, devices, depth, and numbers of classes, over check, train and predict."""
    share_backbones(session_cache, cache)
    # A process of its own for each command would take minutes; the last case has these.
    run = command_runner(Tier("small"), capsys, cache)
    folders = tier.count(small=300, battery=100_000, full=1_000_000)
    cases = dict(CASES)
    cases[f"{folders:,} empty folders"] = TreeCase(many_folders(folders))
    if hasattr(os, "mknod") and os.geteuid() == 0:
        cases["a device that never ends"] = DEVICE
        tally.skip()  # Root may read everything.
    else:
        cases["a file and a folder without permission"] = UNREADABLE
        tally.skip()
    step = tier.count(small=3, battery=1, full=1)
    for number, (name, case) in enumerate([*cases.items()][::step]):
        with tally.case(name), ended_within(_LIMIT + folders // 1000):
            root = tmp_path / f"tree{number}"
            root.mkdir()
            case.make(root)
            _check_commands(root, case, run, trained)


def test_all_obstacles_at_once(
    tally: Tally,
    tier: Tier,
    tmp_path: Path,
    cache: Path,
    session_cache: Path,
    backbone: Backbone,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Trees of all these kinds beside each other in one folder, and a folder of any name."""
    share_backbones(session_cache, cache)
    run, root = command_runner(tier, capsys, cache), tmp_path / "all"
    for number, case in enumerate(CASES.values()):
        if case.check == case.train == 0 and case.read:
            folder = root / f"{number}"
            folder.mkdir(parents=True)
            case.make(folder)
    if tier.name != "small":
        with tally.case("train on all of them"), ended_within(120):
            command = (
                "train",
                root,
                "-o",
                tmp_path / "run",
                "--splits",
                "none",
                "--drop-small",
                *SMALL,
            )
            check_printed(run(*command).check({0}))
    roots = {"no UTF-8": os.fsdecode(b"photos\xff\n"), "a dash": "-x", "a line feed": "a\nb"}
    roots |= {"an escape": "\x1b[31m", "a script": "<script>alert(1)<", "an option": "--help"}
    for what, name in list(roots.items())[: tier.count(small=1, battery=9, full=9)]:
        with tally.case(f"a folder whose name has {what}"), ended_within(120):
            data = tmp_path / name
            two_classes(data)
            output = tmp_path / f"{name}-run"
            check_printed(run("check", data).check({0}))
            check_printed(run("train", data, "-o", output, *SMALL).check({0}))
            check_printed(run("predict", output, data).check({0}))
            check_printed(run("evaluate", output, data).check({0}))


def test_many_classes(
    tally: Tally,
    tier: Tier,
    tmp_path: Path,
    cache: Path,
    session_cache: Path,
    backbone: Backbone,
) -> None:
    """10,000 classes of one image, and thousands of classes that are trained."""
    if tier.name == "small":
        tally.skip(2)
        return
    share_backbones(session_cache, cache)
    with tally.case("check on 10,000 classes"):
        many_classes(10_000, 1)(tmp_path / "many")
        ended = run_command("check", tmp_path / "many", cache=cache, timeout=120).check({0})
        tally.figures["check on 10,000 classes"] = f"{ended.cpu_seconds:.0f} s of processor time"
    classes = tier.count(small=0, battery=300, full=3000)
    with tally.case(f"train on {classes:,} classes"):
        many_classes(classes, 4)(tmp_path / "trained")
        command = ("train", tmp_path / "trained", "-o", tmp_path / "run", *SMALL)
        ended = run_command(*command, cache=cache, timeout=1800).check({0})
        figure = f"{ended.cpu_seconds:.0f} s, {ended.peak_bytes / 2**20:,.0f} MiB"
        tally.figures[f"train on {classes:,} classes"] = figure
