"""Disks that are full or fail: exit code 5 in one line, nothing lost, and then the same result."""

import contextlib
import errno
import functools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from battery.disk_scenarios import SCENARIOS, Inputs, Scenario, check_contents, check_result
from battery.failing_files import FailingDisk
from battery.processes import EndedProcess, check_unchanged, run_command
from battery.tally import Tally, Tier
from runner import mounted_disk, repeatedly, share_backbones, temporaries, tree
from sharpeye.cli.app import run
from sharpeye.core.inference import Backbone
from sharpeye.core.storage import TEMPORARY_PREFIX

resource = pytest.importorskip("resource", reason="limits of POSIX")
# What a disk reports, and whether it goes on to do so: all space is used, a user's quota is, or a
# sector is broken.
FAULTS = ((errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False), (errno.ENOSPC, False))
MIB = 2**20
DISK_MIB = 96


@pytest.fixture
def inputs(trained: Path, tmp_path: Path) -> Inputs:
    return Inputs.create(tmp_path / "inputs", trained)


@pytest.fixture
def warm(cache: Path, session_cache: Path, backbone: Backbone) -> Path:
    """This test's own cache, with the small backbone in it and nothing else."""
    return share_backbones(session_cache, cache)


def check_message(text: str, paths: Sequence[Path | str]) -> None:
    """Fail unless the last line is an error that names one of the paths, and no line is a trace."""
    assert "Traceback" not in text
    line = text.splitlines()[-1]
    assert line.startswith("error: "), text
    assert any(str(path) in line for path in paths), line
    assert TEMPORARY_PREFIX not in line, line


def create_empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


# --- one operation fails -------------------------------------------------------------------------


def run_undisturbed(
    scenario: Scenario, inputs: Inputs, out: Path
) -> tuple[dict[str, str], list[str]]:
    """The results of a command that nothing happens to, and its operations on files."""
    scenario.prepare(inputs, create_empty(out))
    with FailingDisk(out).mounted() as disk:
        assert run(scenario.arguments(inputs, out)) == 0
    return tree(out), disk.operations


def check_fault(
    scenario: Scenario,
    inputs: Inputs,
    disk: FailingDisk,
    expected: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Run a command on a disk that fails, and again on one that does not."""
    out = create_empty(disk.folder)
    scenario.prepare(inputs, out)
    before, arguments = tree(out), scenario.arguments(inputs, out)
    with disk.mounted():
        code = run(arguments)
    text = capsys.readouterr().err
    if code == 0:  # what failed was not needed
        check_result(out, expected, scenario)
        return
    assert code == 5, (code, text)
    check_message(text, [out])
    check_contents(before, out, expected, scenario)
    if (out / "undo.csv").exists():
        assert run(scenario.undo_arguments(inputs, out)) == 0
        (out / "undo.csv").unlink()
        check_unchanged(out, before)
    assert run(arguments) == 0, capsys.readouterr().err
    check_result(out, expected, scenario)


def test_failing_operations(
    tally: Tally,
    tier: Tier,
    seed: int,
    inputs: Inputs,
    warm: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Commands whose n-th write, flush, close or rename fails: full disk, quota, bad disk"""
    random = np.random.default_rng(seed)
    quick = ("evaluate", "relabel --apply")
    for name in quick if tier.name == "small" else SCENARIOS:
        scenario, out = SCENARIOS[name], tmp_path / "out"
        expected, operations = run_undisturbed(scenario, inputs, out)
        count = tier.count(1, 4, len(operations))
        points = random.choice(len(operations), min(count, len(operations)), replace=False)
        for number, point in enumerate(sorted(points.tolist())):
            code, stays_full = FAULTS[(number + seed) % len(FAULTS)]
            case = f"{name}: {errno.errorcode[code]} at {point} ({operations[point]})"
            with tally.case(case):
                disk = FailingDisk(out, point, code, stays_full)
                check_fault(scenario, inputs, disk, expected, capsys)
        tally.figures[name] = f"{len(operations)} operations"


def test_failing_operations_of_the_cache(
    tally: Tally,
    tier: Tier,
    seed: int,
    inputs: Inputs,
    session_cache: Path,
    warm: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Trainings whose n-th operation in the cache fails: exit code 0, a warning, the same result"""
    random = np.random.default_rng(seed)
    arguments = SCENARIOS["train"].arguments(inputs, tmp_path / "out")

    def train(disk: FailingDisk) -> tuple[int, bytes]:
        for name in ("features", "looks", "splits"):
            shutil.rmtree(warm / name, ignore_errors=True)
        create_empty(tmp_path / "out")
        with disk.mounted():
            code = run(arguments)
        predictions = tmp_path / "out" / "run" / "predictions.csv"
        return code, predictions.read_bytes() if code == 0 else b""

    if tier.name == "small":
        tally.skip()
        return
    counted = FailingDisk(warm)
    expected = train(counted)
    assert expected[0] == 0
    operations = counted.operations
    count = tier.count(0, 10, len(operations))
    points = random.choice(len(operations), min(count, len(operations)), replace=False)
    for number, point in enumerate(sorted(points.tolist())):
        code, stays_full = FAULTS[number % len(FAULTS)]
        with tally.case(f"{errno.errorcode[code]} at {point} ({operations[point]})"):
            assert train(FailingDisk(warm, point, code, stays_full)) == expected
            assert "Traceback" not in capsys.readouterr().err
            assert temporaries(warm) == []
    tally.figures["operations"] = str(len(operations))


# --- a real disk that is full --------------------------------------------------------------------


class SmallDisk:
    """A disk that a file fills, so that a given number of bytes is left."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._filler = folder, folder / ".filler"

    @property
    def free(self) -> int:
        status = os.statvfs(self.folder)
        return status.f_bavail * status.f_frsize

    def fill(self, free: int) -> None:
        with self._filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, self.free - free))

    @contextlib.contextmanager
    def watched(self) -> Iterator[list[int]]:
        """The numbers of bytes in use beyond those at the beginning, again and again."""
        before, used = self.free, [4096]
        with repeatedly(lambda: used.append(before - self.free), seconds=0.002):
            yield used

    def clear(self) -> None:
        self._filler.unlink(missing_ok=True)


def require_mount(folder: Path) -> None:
    """Skip the test where no disk can be mounted."""
    with mounted_disk(create_empty(folder), mebibytes=1):
        pass


def run_in_pairs(cases: Iterable[tuple[str, Callable[[], None]]], tally: Tally) -> None:
    """Run cases on two threads, which wait for processes, and count them here."""
    with ThreadPoolExecutor(2) as pool:
        started = [(name, pool.submit(case)) for name, case in cases]
        for name, future in started:
            with tally.case(name):
                future.result()


class SmallDiskRunner:
    """A command of which one folder lies on a small disk: `output`, `cache` or `TMPDIR`."""

    def __init__(self, inputs: Inputs, warm: Path, root: Path) -> None:
        self.inputs, self.warm, self.root = inputs, warm, root

    def measure(self, scenario: Scenario, on_disk: str, name: str) -> tuple[int, dict[str, str]]:
        """The bytes that the command needs on that disk, and its results."""
        with self._disk(name) as disk:
            folders = self._folders(disk, on_disk)
            scenario.prepare(self.inputs, folders["output"])
            with disk.watched() as used:
                self._run(scenario, folders).check({0})
            for file in (folders["cache"] / "backbones").iterdir():
                if not (self.warm / "backbones" / file.name).exists():  # now converted
                    shutil.copy(file, self.warm / "backbones")
            return max(used), tree(folders["output"])

    def fill(
        self, scenario: Scenario, on_disk: str, name: str, *, free: int, expected: dict[str, str]
    ) -> None:
        """Run the command with so many bytes free, and again with enough."""
        with self._disk(name) as disk:
            folders = self._folders(disk, on_disk)
            out = folders["output"]
            scenario.prepare(self.inputs, out)
            before = tree(out)
            disk.fill(free)
            done = self._run(scenario, folders).check({0, 5})
            if done.code == 5:
                check_message(done.err, [*folders.values(), self.warm])
                check_contents(before, out, expected, scenario)
                assert temporaries(disk.folder) == []
                disk.clear()
                if (out / "undo.csv").exists():
                    undo = scenario.undo_arguments(self.inputs, out)
                    run_command(*undo, cache=folders["cache"]).check({0})
                    (out / "undo.csv").unlink()
                is_resumable = any(out.glob("run/checkpoints/*"))
                self._run(scenario, folders, *["--resume"] * is_resumable).check({0})
            disk.clear()
            check_result(out, expected, scenario)

    @contextlib.contextmanager
    def _disk(self, name: str) -> Iterator[SmallDisk]:
        folder = create_empty(self.root / name.replace(" ", "-") / "disk")
        with mounted_disk(folder, mebibytes=DISK_MIB):
            yield SmallDisk(folder)

    def _folders(self, disk: SmallDisk, on_disk: str) -> dict[str, Path]:
        parent = disk.folder.parent
        folders = {
            name: create_empty((disk.folder if name == on_disk else parent) / name)
            for name in ("output", "cache", "TMPDIR")
        }
        share_backbones(self.warm, create_empty(folders["cache"]), link=on_disk != "cache")
        return folders

    def _run(self, scenario: Scenario, folders: dict[str, Path], *options: str) -> EndedProcess:
        arguments = [*scenario.arguments(self.inputs, folders["output"]), *options]
        environment = {"TMPDIR": str(folders["TMPDIR"])}
        return run_command(*arguments, cache=folders["cache"], env=environment)


def spread_offsets(used: int, count: int) -> list[int]:
    """Numbers of free bytes at which a command that needs `used` bytes fails, evenly spread."""
    return [int(used * (number + 0.5) / count) for number in range(count)]


def fill_disks(
    tally: Tally, disks: SmallDiskRunner, plan: Sequence[tuple[str, Scenario, str, int]]
) -> None:
    """Run each (name, scenario, folder on the disk, number of offsets)."""
    measured: dict[str, tuple[int, dict[str, str]]] = {}

    def measure(title: str, scenario: Scenario, on_disk: str) -> None:
        measured[title] = disks.measure(scenario, on_disk, title)

    titles = [f"{name}, {on_disk}" for name, _, on_disk, _ in plan]
    cases = [
        (f"{title}: enough space", functools.partial(measure, title, scenario, on_disk))
        for title, (_, scenario, on_disk, _) in zip(titles, plan, strict=True)
    ]
    run_in_pairs(cases, tally)
    cases = []
    for title, (_, scenario, on_disk, count) in zip(titles, plan, strict=True):
        used, expected = measured.get(title, (0, {}))
        tally.figures[title] = f"{used / MIB:.1f} MiB"
        for number, free in enumerate(spread_offsets(used, count) if used else ()):
            fill = functools.partial(disks.fill, free=free, expected=expected)
            case = functools.partial(fill, scenario, on_disk, f"{title} {number}")
            cases.append((f"{title}: {free} bytes free ({number} of {count})", case))
    run_in_pairs(cases, tally)


def test_full_disks(tally: Tally, tier: Tier, inputs: Inputs, warm: Path, tmp_path: Path) -> None:
    """Full disks: output, cache and TMPDIR of trainings and exports, filled to 20 offsets each"""
    require_mount(tmp_path / "try")
    if tier.name == "small":
        tally.skip()
        return
    disks = SmallDiskRunner(inputs, warm, tmp_path / "disks")
    fixed = Scenario("export {run} -f onnx --fixed -o {out}/m.onnx")
    plan = [
        ("train", SCENARIOS["train"], "output", tier.count(0, 20, 40)),
        ("train", SCENARIOS["train"], "cache", tier.count(0, 20, 40)),
        ("train --overwrite", SCENARIOS["train --overwrite"], "output", tier.count(0, 4, 20)),
        ("export --fixed", fixed, "TMPDIR", tier.count(0, 20, 40)),
        ("relabel --copy", SCENARIOS["relabel --copy"], "output", tier.count(0, 3, 20)),
        ("augment", SCENARIOS["augment"], "output", tier.count(0, 4, 20)),
        ("collect import", SCENARIOS["collect import"], "output", tier.count(0, 3, 20)),
        ("check --quarantine", SCENARIOS["check --quarantine"], "output", tier.count(0, 3, 20)),
        ("predict --draw", SCENARIOS["predict --draw"], "output", tier.count(0, 3, 20)),
    ]
    fill_disks(tally, disks, plan)


SCRATCH = "--set model.name=cnn --set model.image_size=32 --set train.epochs=3"
SLOW = {
    "train from scratch": f"train {{photos}} -o {{out}}/run -q {SCRATCH}",
    "sweep": "sweep {photos} --epochs 1 --grid net.conv_layers=1,2 -o {out}/sweep --workers 1 -q "
    "--set model.image_size=32",
    "retrain": "retrain --image_dir={photos} --architecture=mobilenet_0.25_128 --weights=random "
    "--how_many_training_steps=20 --output_graph={out}/graph.pb "
    "--output_labels={out}/labels.txt --summaries_dir={out}/logs",
    "export litert": "export {run} --data {photos} -f litert -o {out}/m.tflite",
    "export saved_model": "export {run} --data {photos} -f saved_model -o {out}/saved",
    "export keras": "export {run} --data {photos} -f keras -o {out}/m.keras",
    "export openvino": "export {run} --data {photos} -f openvino -o {out}/openvino",
}


def test_full_disks_below_tensorflow(
    tally: Tally, tier: Tier, inputs: Inputs, warm: Path, tmp_path: Path
) -> None:
    """Full disks: networks, sweeps, retrain and exports that start TensorFlow"""
    require_mount(tmp_path / "try")
    if tier.name == "small":
        tally.skip(len(SLOW))
        return
    disks = SmallDiskRunner(inputs, warm, tmp_path / "disks")
    plan = [
        (name, Scenario(text, exact=False), "output", tier.count(0, 1, 20))
        for name, text in SLOW.items()
    ]
    scratch = Scenario(SLOW["train from scratch"], exact=False)
    plan.append(("train from scratch", scratch, "cache", tier.count(0, 1, 20)))
    fill_disks(tally, disks, plan)


# --- other limits --------------------------------------------------------------------------------


def test_limited_files(
    tally: Tally, tier: Tier, inputs: Inputs, warm: Path, tmp_path: Path
) -> None:
    """No more inodes, and files that may not grow (RLIMIT_FSIZE): exit code 5, nothing lost"""
    require_mount(tmp_path / "try")
    names = ("train", "evaluate", "augment", "relabel --copy", "export onnx", "predict --draw")
    chosen = names[3:4] if tier.name == "small" else names

    def run_with_small_files(name: str, size: int) -> None:
        folder, scenario = tmp_path / f"size {name} {size}".replace(" ", "-"), SCENARIOS[name]
        out = create_empty(folder)
        done = run_command(
            *scenario.arguments(inputs, out),
            cache=warm,
            preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        )
        check_ended(done, out, folder)

    def run_without_inodes(name: str, files: int) -> None:
        folder = create_empty(tmp_path / f"files {name} {files}".replace(" ", "-"))
        with mounted_disk(folder, mebibytes=DISK_MIB, files=files) as out:
            done = run_command(*SCENARIOS[name].arguments(inputs, out), cache=warm)
            check_ended(done, out, folder)

    def check_ended(done: EndedProcess, out: Path, folder: Path) -> None:
        done.check({5})
        check_message(done.err, [out, warm])
        assert temporaries(folder) == []

    cases = []
    for name in chosen:
        # The error line, which goes into a file, too, is shorter than 400 bytes.
        for size in (400, 1000, 4000)[: tier.count(1, 1, 3)]:
            cases.append(
                (
                    f"{name}: files of {size} bytes",
                    functools.partial(run_with_small_files, name, size),
                )
            )
        for files in (2, 3, 5)[: tier.count(0, 1, 3)]:
            case = functools.partial(run_without_inodes, name, files)
            cases.append((f"{name}: {files} inodes", case))
    run_in_pairs(cases, tally)


def redirect(path: str, *descriptors: int) -> Callable[[], None]:
    """For a new process: standard streams that go to a file or device."""

    def set_streams() -> None:
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        for descriptor in descriptors:
            os.dup2(file, descriptor)

    return set_streams


def test_full_streams(tally: Tally, tier: Tier, inputs: Inputs, warm: Path, tmp_path: Path) -> None:
    """Standard output or the log on a full disk: exit code 5 or 0, and the results are complete"""
    if not Path("/dev/full").exists():
        tally.skip()
        return
    commands = {
        "predict": "predict {run} {photos}",
        "predict csv": "predict {run} {photos} --format csv",
        "predict jsonl": "predict {run} {photos} --format jsonl",
        "check": "check {broken} --quick",
        "cache info": "cache info",
        "models": "models",
        "evaluate": "evaluate {run} {photos} -o {out}/scores",
        "relabel --copy": "relabel {photos} --apply {fixes} --copy {out}/fixed",
        "train": "train {photos} -o {out}/run {small}",
    }
    names = list(commands)[: tier.count(1, len(commands), len(commands))]

    def case(name: str, stream: str) -> None:
        out = create_empty(tmp_path / f"{name} {stream}".replace(" ", "-"))
        arguments = Scenario(commands[name]).arguments(inputs, out)
        descriptors = {"output": (1,), "log": (2,), "both": (1, 2)}[stream]
        done = run_command(
            *arguments, cache=warm, preexec=redirect("/dev/full", *descriptors)
        ).check({0} if stream == "log" else {5})
        if stream == "output":
            assert "cannot write to the standard output: No space left" in done.err
        repeated = run_command(
            *Scenario(commands[name]).arguments(inputs, create_empty(tmp_path / f"{out.name}-2")),
            cache=warm,
        )
        repeated.check({0})
        check_result(out, tree(tmp_path / f"{out.name}-2"), Scenario(commands[name]))

    streams = ("output", "log", "both")[: tier.count(1, 3, 3)]
    run_in_pairs(
        [
            (f"{name}: {stream}", functools.partial(case, name, stream))
            for name in names
            for stream in streams
        ],
        tally,
    )
