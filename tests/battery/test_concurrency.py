"""Several processes at once on one cache, one output, one folder of images: none harms another."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from battery.processes import run_process
from battery.race_checks import check_cache, check_result, check_same, round_of, train
from battery.race_server import RaceServer, command
from battery.tally import LossError, Tally, Tier
from runner import environment, tree
from sharpeye.core.storage import FileLock

OLD_CACHE = Path(__file__).parents[1] / "compatibility" / "0.1.0" / "cache"
MAX_RECOVERY_SECONDS = 5.0
DAY = 24 * 3600


@pytest.fixture
def data(trained: Path) -> Path:
    """The images of the serial run, with which all results are compared."""
    return trained.parent / "hard"


# --- trainings ------------------------------------------------------------------------------------


def test_trainings_on_one_cold_cache(
    tally: Tally, tier: Tier, races: RaceServer, data: Path, trained: Path, warm: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    """2, 4 and 8 trainings at once on one cache without features."""
    most = 0.0
    for number in range(tier.count(small=1, battery=12, full=75)):
        count = (2, 4, 8)[number % 3]
        with round_of(tally, f"{number}: {count}", tmp_path / str(number), warm) as folder:
            outputs = [folder / f"run{n}" for n in range(count)]
            for result in races.run([train(data, output) for output in outputs], warm):
                check_result(result, {0})
            for output in outputs:
                check_same(output, trained)
            computed = check_cache(warm, data) / 36
            most = max(most, computed)
            assert 1 <= computed <= count  # nobody computes a feature twice
    tally.figures["features computed"] = f"{most:.1f} times at most"


def test_trainings_with_one_output(
    tally: Tally, tier: Tier, races: RaceServer, data: Path, trained: Path, warm: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    """2, 4 and 8 trainings at once into one run directory: one wins."""
    codes: Counter[int] = Counter()
    for number in range(tier.count(small=1, battery=12, full=75)):
        count, delay = (2, 4, 8)[number % 3], (0, 0.002, 0.05, 0.3)[number % 4]
        with round_of(tally, f"{number}: {count}", tmp_path / str(number), warm) as folder:
            commands = [train(data, folder / "run", delay=n * delay) for n in range(count)]
            results = races.run(commands, warm)
            for result in results:
                check_result(result, {0, 2, 6})
                if result.code == 2:  # it came when the winner had finished
                    assert "holds a finished run" in result.err, result
                if result.code == 6:
                    assert "is being written by another run" in result.err, result
            assert [result.code for result in results].count(0) == 1
            codes.update(result.code for result in results)
            assert [path.name for path in folder.iterdir()] == ["run"]
            check_same(folder / "run", trained)
    tally.figures["exit codes"] = ", ".join(f"{code}: {n}" for code, n in sorted(codes.items()))


def test_readers_of_a_run_that_is_replaced(
    tally: Tally, tier: Tier, races: RaceServer, data: Path, trained: Path, warm: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Predictions and evaluations with a run directory that trainings replace again and again."""
    image = data / "ash" / "ash1.png"
    for number in range(tier.count(small=0, battery=8, full=25)):
        with round_of(tally, f"{number}", tmp_path / str(number), warm) as folder:
            shutil.copytree(trained, folder / "run")
            (writer,) = races.run([train(data, folder / "warm-up")], warm)
            check_result(writer, {0})
            readers = [
                command("predict", folder / "run", image, "--format", "csv", repeat_seconds=3),
                command("evaluate", folder / "run", data, "--quiet", repeat_seconds=3),
            ]
            writing = train(data, folder / "run", "--overwrite", repeat_seconds=2)
            for result in races.run([writing, *readers], warm):
                check_result(result, {0})
            check_same(folder / "run", trained)
    if not tally.tried:
        tally.skip()


def test_the_cache_is_cleared_during_trainings(
    tally: Tally, tier: Tier, races: RaceServer, data: Path, trained: Path, session_cache: Path,
    warm: Path, tmp_path: Path,
) -> None:  # fmt: skip
    """`cache clear`, again and again, while two trainings use the cache."""
    for number in range(tier.count(small=0, battery=10, full=25)):
        with round_of(tally, f"{number}", tmp_path / str(number), warm) as folder:
            # A backbone that is cleared is converted again, which takes seconds; it is in use here.
            with contextlib.ExitStack() as stack:
                stack.enter_context(FileLock(warm / "backbones" / "used.lock"))
                outputs = [folder / "one", folder / "two"]
                clear = command("cache", "clear", delay=0.02 * number, repeat_seconds=1)
                trainings = [train(data, output) for output in outputs]
                for result in races.run([*trainings, clear], warm):
                    check_result(result, {0})
            for output in outputs:
                check_same(output, trained)
            check_cache(warm, data)
    if not tally.tried:
        tally.skip()


def test_killed_lock_holders(
    tally: Tally, tier: Tier, seed: int, races: RaceServer, data: Path, trained: Path, warm: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    """SIGKILL of a training that holds locks while others wait for them or come next."""
    random = np.random.default_rng(seed)
    for number in range(tier.count(small=0, battery=12, full=50)):
        with round_of(tally, f"{number}", tmp_path / str(number), warm) as folder:
            if number % 3 == 0:
                seconds = check_waiting(races, data, trained, warm, folder)
                tally.figures["recovered"] = f"in {seconds:.1f} s"
                continue
            output, moment = folder / "run", float(random.uniform(0.05, 1.0))
            (first,) = races.run([train(data, output, kill_after=moment)], warm)
            assert first.code in (-9, 0)
            option = ("--overwrite",) if (output / "bundle.json").exists() else ()
            (second,) = races.run([train(data, output, *option)], warm)
            check_result(second, {0})
            check_same(output, trained)


_HOLD = """\
import sys, time
from pathlib import Path
from sharpeye.core.storage import FileLock
with FileLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def check_waiting(races: RaceServer, data: Path, trained: Path, warm: Path, folder: Path) -> float:
    """A process and a training wait for the lock of the splits, whose holder is killed.

    Returns the seconds in which the process gets it.
    """
    lock = warm / "splits" / "seed0-val0.15-test0.15.lock"

    def hold(seconds: float) -> "subprocess.Popen[str]":
        arguments = [sys.executable, "-c", _HOLD, str(lock), str(seconds)]
        return subprocess.Popen(arguments, env=environment(warm), stdout=subprocess.PIPE, text=True)

    recovered: list[float] = []
    with hold(60) as holder, contextlib.ExitStack() as stack:
        stack.callback(holder.kill)
        assert holder.stdout and holder.stdout.readline() == "held\n"
        assert FileLock(lock).is_held()
        waiter = stack.enter_context(hold(0))
        stack.callback(waiter.kill)

        def kill_and_measure() -> None:
            holder.kill()
            killed = time.monotonic()
            assert waiter.stdout and waiter.stdout.readline() == "held\n"
            recovered.append(time.monotonic() - killed)

        timer = threading.Timer(1.5, kill_and_measure)
        timer.start()
        (result,) = races.run([train(data, folder / "run")], warm)
        timer.join()
    check_result(result, {0})
    check_same(folder / "run", trained)
    assert recovered and recovered[0] <= MAX_RECOVERY_SECONDS, recovered
    return recovered[0]


def test_clocks_versions_and_file_systems(
    tally: Tally, tier: Tier, races: RaceServer, data: Path, trained: Path, warm: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Clocks that differ by a day, a cache of an earlier version, file systems without locks."""
    for number in range(tier.count(small=0, battery=9, full=30)):
        with round_of(tally, f"{number}", tmp_path / str(number), warm) as folder:
            copy = shutil.copytree(data, folder / "hard")
            if number % 3 == 0:
                check_clocks(races, copy, trained, warm, folder, DAY * (1 - number % 2 * 2))
            elif number % 3 == 1:
                check_old_cache(races, copy, trained, warm, folder)
            else:
                check_without_locks(copy, trained, warm, folder)
    if not tally.tried:
        tally.skip()


def check_clocks(
    races: RaceServer, data: Path, trained: Path, warm: Path, folder: Path, shift: float
) -> None:
    """Images and records of the cache have times of tomorrow or of yesterday."""
    for stage in ("one", "two"):
        for root in (data, warm / "features", warm / "splits"):
            for path in root.rglob("*"):
                stamp = time.time() + shift
                os.utime(path, (stamp, stamp))
        commands = [train(data, folder / f"{stage}{n}") for n in range(2)]
        for result in races.run(commands, warm):
            check_result(result, {0})
    for stage in ("one0", "one1", "two0", "two1"):
        check_same(folder / stage, trained)
    check_cache(warm, data)


def check_old_cache(races: RaceServer, data: Path, trained: Path, warm: Path, folder: Path) -> None:
    """Trainings beside the records of version 0.1.0, which stay as they are."""
    for entry in OLD_CACHE.iterdir():
        if entry.name != "backbones":
            shutil.copytree(entry, warm / entry.name)
    shutil.rmtree(warm / "splits")  # it gives the splits of its own images alone
    before = tree(warm)
    for result in races.run([train(data, folder / f"run{n}") for n in range(2)], warm):
        check_result(result, {0})
    after = tree(warm)
    lost = [name for name in before if after.get(name) != before[name]]
    if lost:
        raise LossError(f"files of the earlier version have changed: {lost}")
    for number in range(2):
        check_same(folder / f"run{number}", trained)


_NO_LOCKS = f"""\
import fcntl, os, sys
def flock(*_):
    raise OSError({errno.ENOSYS}, "Function not implemented")
fcntl.flock = flock
from sharpeye.cli.app import run
sys.exit(run(sys.argv[1:]))
"""


def check_without_locks(data: Path, trained: Path, warm: Path, folder: Path) -> None:
    """A training works without locks, or says that it needs them."""
    arguments = [sys.executable, "-W", "ignore", "-c", _NO_LOCKS]
    arguments += train(data, folder / "run").arguments
    ended = run_process(arguments, env=environment(warm), timeout=60).check({0, 5})
    if ended.code == 0:
        check_same(folder / "run", trained)
    else:
        assert "locks" in ended.err or "implemented" in ended.err


_FORK = """\
import os, sys
import sharpeye
use = sys.argv[1] == "used"
model = sharpeye.load(sys.argv[2]) if use else None
before = model.predict(sys.argv[3]).score if use else None
children = []
for number in range(4):
    child = os.fork()
    if not child:
        try:
            score = sharpeye.load(sys.argv[2]).predict(sys.argv[3]).score
            os._exit(0 if before in (None, score) else 7)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
sys.exit(max(codes, key=abs))
"""


def test_forks(tally: Tally, tier: Tier, data: Path, trained: Path, warm: Path) -> None:
    """Processes that are forked after `import sharpeye`, and after a prediction."""
    for number in range(tier.count(small=0, battery=4, full=10)):
        state = ("imported", "used")[number % 2]
        with tally.case(f"{number}: {state}"):
            arguments = [sys.executable, "-c", _FORK, state, str(trained)]
            arguments.append(str(data / "ash" / "ash1.png"))
            run_process(arguments, env=environment(warm), timeout=60).check({0})
