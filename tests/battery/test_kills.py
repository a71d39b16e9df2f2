"""Commands that are killed, at random moments and at chosen calls, and a power that fails."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from battery.killed_commands import (
    Case,
    Kill,
    KillRounds,
    ServerPool,
    Servers,
    Uninterrupted,
)
from battery.tally import Tally, Tier
from battery.writing_commands import Commands, WritingCommand
from loopback import Loopback

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="processes are forked and looked up in Linux' /proc"
)
Rounds = list[tuple[WritingCommand, Uninterrupted]]


@pytest.fixture
def commands(
    tier: Tier, downloads: Loopback, request: pytest.FixtureRequest
) -> list[WritingCommand]:
    """The commands of the tier; the small one trains nothing."""
    if tier.name == "small":
        names = ("relabel --apply", "check --quarantine to another disk")
        return [
            command
            for command in Commands(Path(), Path(), downloads).quick()
            if command.name in names
        ]
    trained = request.getfixturevalue("trained")
    return Commands(trained, request.getfixturevalue("session_cache"), downloads).all()


def uninterrupted(
    tally: Tally, commands: Sequence[WritingCommand], rounds: KillRounds, pool: ServerPool
) -> Rounds:
    """Run each command without a signal; one that fails is a failed case."""

    def run(command: WritingCommand, servers: Servers) -> Uninterrupted:
        return rounds.run_uninterrupted(command, servers.get(keras=command.keras))

    works = [partial(run, command) for command in commands]
    runs: Rounds = []
    for command, future in zip(commands, pool.run_all(works), strict=True):
        if future.exception():
            with tally.case(command.name):
                future.result()
        else:
            runs.append((command, future.result()))
    return runs


def cases(rounds: KillRounds, runs: Rounds, kills: Sequence[Sequence[Kill]]) -> list[Case]:
    """The cases of each command, with its kills."""

    def run(command: WritingCommand, expected: Uninterrupted, kill: Kill, servers: Servers) -> None:
        rounds.kill(command, expected, servers.get(keras=command.keras), kill)

    return [
        (f"{command.name}, {kill}", partial(run, command, expected, kill))
        for (command, expected), moments in zip(runs, kills, strict=True)
        for kill in moments
    ]


def require_hits(tally: Tally, rounds: KillRounds, *, least: float) -> None:
    """A case more: signals that come when a command has ended try nothing."""
    hits, count = sum(rounds.hits), len(rounds.hits)
    with tally.case("signals came in time"):
        assert hits >= least * count, f"{hits} of {count}"
    tally.figures["signals in time"] = f"{hits} of {count}"


def test_kills_at_random_moments(
    commands: list[WritingCommand],
    rounds: KillRounds,
    pool: ServerPool,
    tally: Tally,
    tier: Tier,
    seed: int,
) -> None:
    """Commands that are killed by SIGKILL at random moments, and run again."""
    if tier.name == "small":  # the kills at calls are there
        return
    random = np.random.default_rng(seed)
    runs = uninterrupted(tally, commands, rounds, pool)
    kills = [
        [
            Kill(seconds=float(random.uniform(0, expected.seconds * (0.5 if c.ready else 1))))
            for _ in range(tier.count(0, c.kills, 3 * c.kills))
        ]
        for c, expected in runs
    ]
    pool.run_cases(tally, cases(rounds, runs, kills))
    require_hits(tally, rounds, least=0.5)


def test_kills_at_calls(
    commands: list[WritingCommand],
    rounds: KillRounds,
    pool: ServerPool,
    tally: Tally,
    tier: Tier,
    seed: int,
) -> None:
    """Commands that are killed at their n-th write, fsync, rename, unlink, link or mkdir."""
    random = np.random.default_rng(seed)
    runs = uninterrupted(tally, [c for c in commands if c.points], rounds, pool)
    kills = []
    for command, expected in runs:
        count = len(expected.calls)
        calls = np.arange(1, count + 1)
        if tier.name != "full":
            size = min(count, tier.count(2, command.points, 0))
            calls = np.sort(random.choice(calls, size, replace=False))
        kills.append([Kill(call=int(call)) for call in calls])
    pool.run_cases(tally, cases(rounds, runs, kills))
    require_hits(tally, rounds, least=0.95)
    tally.figures["calls"] = f"{sum(len(expected.calls) for _, expected in runs):,}"


def test_power_failures(
    commands: list[WritingCommand],
    rounds: KillRounds,
    pool: ServerPool,
    tally: Tally,
    tier: Tier,
    seed: int,
) -> None:
    """Power failures: what no fsync followed is lost or torn, and the command is run again."""
    random = np.random.default_rng(seed + 1)
    runs = uninterrupted(tally, [c for c in commands if c.points], rounds, pool)
    kills: list[list[Kill]] = [[] for _ in runs]
    for number in range(tier.count(2, 30, 150)):
        index = number % len(runs)
        call = int(random.integers(1, len(runs[index][1].calls) + 1))
        kills[index].append(Kill(call=call, power=int(random.integers(1, 2**31))))
    pool.run_cases(tally, cases(rounds, runs, kills))
    require_hits(tally, rounds, least=0.95)
