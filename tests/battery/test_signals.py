"""Signals, killed children, and the limits and environments that a system may set."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from battery.forked_commands import wait_for_session
from battery.killed_commands import Kill, KillRounds, ServerPool
from battery.processes import EndedProcess, run_command, run_process
from battery.tally import Tally, Tier
from battery.test_kills import cases, uninterrupted
from battery.writing_commands import Commands, WritingCommand
from battery.written_files import require_clean, run_result
from loopback import Loopback
from runner import command, environment, hard_photos, share_backbones

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="signals and limits of Linux"
)
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_QUICK = ("collect import", "fetch", "augment", "relabel --copy")
_TRAINING = ("train", "train --overwrite", "retrain", "export onnx", "train from scratch")
SMALL = ("--set", "model.image_size=64", "-q")


@pytest.fixture
def commands(
    tier: Tier, downloads: Loopback, request: pytest.FixtureRequest
) -> list[WritingCommand]:
    """The commands that are signalled; the small tier trains nothing."""
    if tier.name == "small":
        return [c for c in Commands(Path(), Path(), downloads).quick() if c.name in _QUICK[:3]]
    trained = request.getfixturevalue("trained")
    every = Commands(trained, request.getfixturevalue("session_cache"), downloads).all()
    return [command for command in every if command.name in (*_QUICK, *_TRAINING)]


@pytest.fixture
def place(trained: Path, session_cache: Path, tmp_path: Path) -> Path:
    """A folder with `photos`, a finished `run` and a `cache` that has its backbone."""
    hard_photos(tmp_path / "photos")
    shutil.copytree(trained, tmp_path / "run")
    share_backbones(session_cache, tmp_path / "cache")
    return tmp_path


def test_signals_at_random_moments(
    commands: list[WritingCommand],
    rounds: KillRounds,
    pool: ServerPool,
    tally: Tally,
    tier: Tier,
    seed: int,
) -> None:
    """SIGINT, SIGTERM and SIGHUP at random moments, also twice; the command is run again."""
    random = np.random.default_rng(seed)
    runs = uninterrupted(tally, commands, rounds, pool)
    kills: list[list[Kill]] = [[] for _ in runs]
    for number in range(tier.count(1, 32, 120)):
        index = number % len(runs)
        kills[index].append(
            Kill(
                seconds=float(random.uniform(0, runs[index][1].seconds)),
                number=STOPPING[number % 3],
                repeated=float(random.uniform(0, 0.3)) if number % 4 == 3 else -1.0,
            )
        )
    shared_memory = _shared_memory()
    pool.run_cases(tally, cases(rounds, runs, kills))
    with tally.case("shared memory"):
        assert _shared_memory() <= shared_memory


def test_stops_and_continues(
    commands: list[WritingCommand],
    rounds: KillRounds,
    pool: ServerPool,
    tally: Tally,
    tier: Tier,
    seed: int,
) -> None:
    """SIGSTOP and SIGCONT, as of a laptop that sleeps: the result is as without."""
    random = np.random.default_rng(seed)
    runs = uninterrupted(
        tally, [c for c in commands if c.name in ("augment", "train")], rounds, pool
    )
    kills: list[list[Kill]] = [[] for _ in runs]
    for number in range(tier.count(1, 4, 20)):
        index = number % len(runs)
        seconds = float(random.uniform(0, runs[index][1].seconds))
        pause = 0.3 if number % 4 else tier.count(0, 11, 11) or 0.3
        kills[index].append(Kill(seconds=seconds, number=signal.SIGSTOP, pause=pause))
    pool.run_cases(tally, cases(rounds, runs, kills))


def test_closed_pipes(
    tally: Tally, tier: Tier, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A reader that goes, as `head` does: the command ends with 0, and says nothing."""
    lines = ["--help | true", "models | head -n 1", "cache info | true"]
    if tier.name != "small":
        request.getfixturevalue("place")
        lines += [
            "predict run photos --format jsonl | head -n 1",
            "check photos --quick --json -q | head -c 1",
        ]
    for line in lines[: tier.count(1, 5, 5)]:
        with tally.case(line):
            script = f"set -o pipefail; {' '.join(command())} {line}"
            env = environment(tmp_path / "cache")
            ended = run_process(["bash", "-c", script], env=env, cwd=tmp_path, timeout=60)
            ended.check({0})
            assert not ended.err, ended.err


def test_killed_children(
    commands: list[WritingCommand],
    tally: Tally,
    tier: Tier,
    seed: int,
    request: pytest.FixtureRequest,
) -> None:
    """Child processes that are killed or crash: the command names it, or tries once more."""
    if tier.name == "small":
        tally.skip(2)
        return
    place = request.getfixturevalue("place")
    random = np.random.default_rng(seed)
    lines = {
        "export": ("export", "run", "--format", "keras", "--output", "{}.keras", "--data=photos"),
        # A new size each time: a network that was converted once needs no child.
        "conversion": ("train", "photos", "-o", "{0}", *SMALL, "--set=model.image_size={1}"),
        "sweep": (
            *("sweep", "photos", "--grid", "layer_size=8,16", "--workers", "1", "-o", "{}", "-q"),
            *("--model=cnn", "--set=model.image_size=16", "--epochs", "2", "--no-prune"),
        ),
    }
    count, killed = tier.count(0, 6, 30), 0
    for number in range(count):
        name = list(lines)[number % 3]
        how = (signal.SIGKILL, signal.SIGSEGV)[number // 3 % 2]
        with tally.case(f"{name}, {how.name}, {number}"):
            words = [word.format(f"{name}{number}", 65 + number) for word in lines[name]]
            delay = float(random.uniform(0, 2))
            ended, was_killed = _kill_child(words, how, place, delay=delay)
            killed += was_killed
            # A sweep goes on with its other trials; 8 says that none of them gave a result.
            ended.check({0, 5, 8} if name == "sweep" else {0, 5})
            if ended.code == 5:
                assert "ended" in ended.err or "killed" in ended.err, ended.err
            require_clean(place)
    with tally.case("children were there to be killed"):
        assert killed >= 2 / 3 * count, f"{killed} of {count}"
    tally.figures["killed"] = f"{killed} of {count}"


def _kill_child(
    words: Sequence[str], how: signal.Signals, place: Path, *, delay: float
) -> tuple[EndedProcess, bool]:
    """Run a command, and end its first child by a signal a while after it was started.

    Returns the command's end, and whether there was a child to be killed.
    """
    was_killed = False
    with subprocess.Popen(
        command(*words),
        env=environment(place / "cache"),
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        end = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end:
            if children := _children(process.pid):
                time.sleep(delay)
                for child in children[:1]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child, how)
                        was_killed = True
                break
            time.sleep(0.01)
        out, err = process.communicate(timeout=120)
    wait_for_session(process.pid)
    ended = EndedProcess(words, process.returncode, out, err, cpu_seconds=0, peak_bytes=0)
    return ended, was_killed


def _children(process: int) -> list[int]:
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
        return [int(word) for word in text.split()]
    return []


def test_limits(tally: Tally, tier: Tier, request: pytest.FixtureRequest) -> None:
    """Limits of memory, files, processes and cores: done, or exit code 5 with one line."""
    if tier.name == "small":
        tally.skip(3)
        return
    place = request.getfixturevalue("place")
    predict = ("predict", "run", "photos")
    train = ("train", "photos", "-o", "{}", *SMALL)
    check = ("check", "photos", "--quick", "-q")
    limits: dict[str, tuple[Callable[[], None], Sequence[Sequence[str]]]] = {
        **{
            f"address space {gibibytes} GiB": (
                partial(_limit, resource.RLIMIT_AS, int(gibibytes * 2**30)),
                (predict, train, check),
            )
            for gibibytes in (0.5, 1, 2, 4)
        },
        "64 open files": (partial(_limit, resource.RLIMIT_NOFILE, 64), (predict, train, check)),
        "one core": (partial(os.sched_setaffinity, 0, {0}), (train,)),
        "8 processes": (_limit_processes, (("models",), check)),
    }
    seen: list[str] = []
    for name, (preexec, lines) in limits.items():
        for words in lines:
            output = f"{words[0]}-{name.replace(' ', '-')}"
            if preexec is _limit_processes:
                if os.geteuid() != 0 or not _can_limit_processes():
                    tally.skip()
                    continue
                os.chmod(place, 0o755)
            with tally.case(f"{words[0]}, {name}"):
                ended = run_command(
                    *(word.format(output) for word in words),
                    cache=place / "cache",
                    cwd=place,
                    preexec=preexec,
                )
                seen.append(f"{name} {words[0]}: {ended.code}")
                ended.check({0, 5})
                assert ended.code == 0 or len(ended.err.strip().splitlines()) == 1, ended.err
                require_clean(place)
    tally.figures["exit codes"] = "; ".join(seen)


def _limit(kind: int, value: int) -> None:
    resource.setrlimit(kind, (value, value))


def _limit_processes() -> None:
    """Eight processes and threads more than this user has: a user that has none else."""
    _limit(resource.RLIMIT_NPROC, 8)
    os.setgid(64_999)
    os.setuid(64_999)


def _can_limit_processes() -> bool:
    """Whether this process may become another user, who may start Python and read the modules."""
    script = [sys.executable, "-c", "import sharpeye.cli.app"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(script, preexec_fn=_limit_processes, check=False).returncode == 0
    return False


def test_environments(tally: Tally, tier: Tier, request: pytest.FixtureRequest) -> None:
    """Locales, time zones, encodings, times of files: the same predictions."""
    if tier.name == "small":
        tally.skip(12)
        return
    place = request.getfixturevalue("place")
    accented = place / "photos" / "\u00e4sche"
    (place / "photos" / "ash").rename(accented)
    environments: dict[str, Mapping[str, str]] = {
        "plain": {},
        "locale C, no UTF-8 mode": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        "ASCII": {"PYTHONIOENCODING": "ascii"},
        "latin-1": {"PYTHONIOENCODING": "latin-1"},
        "a time zone": {"TZ": "Asia/Kathmandu"},
        "no time zone": {"TZ": "No/Where"},
        "a file as time zone": {"TZ": ":/etc/hostname"},
        "locale that is missing": {"LC_ALL": "xx_YY.UTF-8"},
        "no home": {"HOME": "/nowhere"},
    }
    expected = ""
    for name, env in environments.items():
        with tally.case(name):
            words = ("predict", "run", "photos", "--format", "jsonl")
            ended = run_command(*words, cache=place / "cache", cwd=place, env=env).check({0})
            expected = expected or ended.out
            assert ended.out == expected
    words = ("train", "photos", "-o", "as they were", *SMALL)
    run_command(*words, cache=place / "cache", cwd=place).check({0})
    expected_run = run_result(place / "as they were")
    for name, offset in {"a day ago": -86_400, "tomorrow": 86_400, "in 2100": 4.1e9}.items():
        with tally.case(f"files of {name}"):
            changed = time.time() + offset if abs(offset) < 1e9 else offset
            for path in (*place.rglob("photos/*/*"), *place.rglob("cache/**/*")):
                os.utime(path, (changed, changed))
            words = ("train", "photos", "-o", name, *SMALL)
            run_command(*words, cache=place / "cache", cwd=place).check({0})
            assert run_result(place / name) == expected_run


def test_shared_memory_disk(tally: Tally, tier: Tier, request: pytest.FixtureRequest) -> None:
    """No /dev/shm, and a full one: training ends as with it."""
    can_mount = os.geteuid() == 0 and shutil.which("unshare")
    if tier.name == "small" or not can_mount:
        tally.skip(2)
        return
    place = request.getfixturevalue("place")
    mounts = {
        "full": "mount -t tmpfs -o size=4k tmpfs /dev/shm; head -c 8192 /dev/zero > /dev/shm/x",
        "absent": "mount --bind /proc/self/fdinfo /dev/shm",
    }
    for name, mount in mounts.items():
        with tally.case(name):
            words = " ".join(command("train", "photos", "-o", name, *SMALL))
            script = f"({mount}) 2> /dev/null; cd {place}; exec {words}"
            line = ["unshare", "-m", "bash", "-c", script]
            run_process(line, env=environment(place / "cache"), timeout=120).check({0})
            run_result(place / name)


def _shared_memory() -> set[str]:
    """Segments of shared memory that Python's processes have made."""
    with contextlib.suppress(OSError):
        return {name for name in os.listdir("/dev/shm") if name.startswith(("psm_", "sem."))}
    return set()
