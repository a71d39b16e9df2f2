"""The battery: seeded, bounded programs that try what SharpEye promises of its reliability.

`make test` runs the small tier, `make battery` and `make battery-full` the others, and write the
table of docs/reliability.md. A program is a test with the fixtures `tally`, `tier` and `seed`:

    def test_cut_archives(tally: Tally, tier: Tier, seed: int) -> None:
        \"\"\"Archives that are cut at a random byte.\"\"\"   # the row's title in the table
        random = np.random.default_rng(seed)
        for number in range(tier.count(small=4, battery=80, full=400)):
            with tally.case(f"cut {number}"):
                ...

A case that fails does not end the program; the test fails after its last case. Every random choice
comes from `seed`, which the output of each program and the table print.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from battery.killed_commands import KillRounds, ServerPool
from battery.race_server import RaceServer
from battery.tally import TIERS, Tally, Tier
from loopback import Loopback, serving
from runner import share_backbones
from sharpeye.core.inference import Backbone

# Seconds that one program may take.
TIMEOUTS = {"small": 120, "battery": 900, "full": 6 * 3600}
FIGURES = pytest.StashKey[list[dict[str, object]]]()
TALLY, BROKEN_OFF = pytest.StashKey[Tally](), pytest.StashKey[BaseException]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("battery")
    group.addoption("--tier", choices=TIERS, default="small", help="how much of the battery runs")
    group.addoption("--seed", type=int, default=0, help="the seed of the battery's programs")
    group.addoption("--figures", type=Path, help="the JSON file that receives the battery's table")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []


def _option(config: pytest.Config, name: str) -> Any:
    """An option; its default where this file is loaded after the command line was parsed."""
    return config.getoption(name, {"tier": "small", "seed": 0, "figures": None}[name])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    folder = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(folder):
            item.add_marker(pytest.mark.timeout(TIMEOUTS[_option(config, "tier")]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[pytest.TestReport]:
    """Keep what broke a program off outside of its cases, or before its first one."""
    report: pytest.TestReport = yield
    is_program = "tally" in getattr(item, "fixturenames", ())
    if is_program and call.when != "teardown" and report.failed and call.excinfo:
        item.stash[BROKEN_OFF] = call.excinfo.value
        if TALLY not in item.stash:
            tally = Tally(_title(item))
            tally.break_off(call.excinfo.value)
            item.config.stash[FIGURES].append(tally.row(call.duration))
    return report


def _title(item: pytest.Item) -> str:
    """The first line of the docstring."""
    return (getattr(item, "obj", None).__doc__ or item.name).splitlines()[0].rstrip(".")


def pytest_sessionfinish(session: pytest.Session) -> None:
    file = _option(session.config, "figures")
    if file:
        options = {name: _option(session.config, name) for name in ("tier", "seed")}
        rows = session.config.stash[FIGURES]
        file.write_text(json.dumps({**options, "programs": rows}, indent=2) + "\n")


@pytest.fixture
def tier(request: pytest.FixtureRequest) -> Tier:
    return Tier(_option(request.config, "tier"))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    seed: int = _option(request.config, "seed")
    return seed


@pytest.fixture
def tally(request: pytest.FixtureRequest, tier: Tier) -> Iterator[Tally]:
    """The count of this program's cases; the test fails at its end if a case failed."""
    tally, started = Tally(_title(request.node)), time.perf_counter()
    request.node.stash[TALLY] = tally
    yield tally
    broken_off = request.node.stash.get(BROKEN_OFF, None)
    if broken_off:
        tally.break_off(broken_off)
    request.config.stash[FIGURES].append(tally.row(time.perf_counter() - started))
    seed = _option(request.config, "seed")
    print(f"\n{tally.title}: {tally.passed} of {tally.tried} passed, seed {seed}")
    if tally.failures and not broken_off:
        pytest.fail(tally.text(), pytrace=False)
    # Some programs are too long for the small tier.
    assert tally.tried or tally.skipped or tier.name == "small", "no case was tried"


# --- what several programs need ------------------------------------------------------------------


@pytest.fixture
def warm(backbone: Backbone, session_cache: Path, cache: Path) -> Path:
    """A cache with the backbone and nothing else."""
    return share_backbones(session_cache, cache)


@pytest.fixture(scope="module")
def races(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RaceServer]:
    with RaceServer(tmp_path_factory.mktemp("races")) as server:
        yield server


@pytest.fixture(scope="module")
def pool(request: pytest.FixtureRequest) -> Iterator[ServerPool]:
    """One server in the small tier, whose tests run beside others; else one a core."""
    with ServerPool(1 if _option(request.config, "tier") == "small" else 2) as pool:
        yield pool


@pytest.fixture
def rounds(tmp_path: Path) -> KillRounds:
    return KillRounds(tmp_path)


@pytest.fixture
def downloads() -> Iterator[Loopback]:
    """A server on loopback, from which commands download."""
    with serving() as loopback:
        yield loopback
