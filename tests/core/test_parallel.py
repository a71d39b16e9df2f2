"""Work on several threads: in order, bounded, and over at the first error."""

import sys
import threading
import time
from collections.abc import Iterator

import pytest

from sharpeye.core.parallel import parallel_map


def test_results_come_in_the_order_of_the_items() -> None:
    def work(number: int) -> int:
        time.sleep(0.005 * (number % 3 == 0))
        return number * number

    found = list(parallel_map(work, range(60), workers=4))
    assert found == [(number, number * number) for number in range(60)]


def test_no_items_give_no_results() -> None:
    assert list(parallel_map(str, [])) == []


def test_work_runs_on_several_threads_at_once() -> None:
    barrier = threading.Barrier(3, timeout=10)

    def work(_: int) -> int:
        return barrier.wait()

    found = list(parallel_map(work, range(6), workers=3))
    assert sorted(result for _, result in found) == [0, 0, 1, 1, 2, 2]


def test_few_items_are_in_flight() -> None:
    selected = 0

    def items() -> Iterator[int]:
        nonlocal selected
        for number in range(500):
            selected += 1
            yield number

    for done, (number, _) in enumerate(parallel_map(abs, items(), workers=2)):
        assert number == done
        assert selected <= done + 16
    assert selected == 500


def test_an_error_comes_at_its_place_and_ends_the_stream() -> None:
    started: list[int] = []

    def work(number: int) -> int:
        started.append(number)
        if number == 5:
            raise KeyError("five")
        time.sleep(0.001)
        return number

    found = []
    with pytest.raises(KeyError, match="five"):
        found.extend(parallel_map(work, range(10_000), workers=2))
    assert len(found) <= 5 and len(started) < 60


def test_an_error_of_the_items_ends_the_stream_and_its_threads() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(parallel_map(abs, items(), workers=2))
    assert not workers_alive()


def test_closing_early_drops_what_has_not_begun() -> None:
    started: list[int] = []

    def work(number: int) -> int:
        started.append(number)
        time.sleep(0.01)
        return number

    running = parallel_map(work, range(1000), workers=2)
    assert next(running) == (0, 0)
    running.close()  # type: ignore[attr-defined]
    assert len(started) <= 6
    deadline = time.monotonic() + 5
    while workers_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not workers_alive()
    count = len(started)
    time.sleep(0.05)
    assert len(started) == count


def test_dropping_a_stream_waits_for_no_thread() -> None:
    """The collector may drop it while `threading` holds its locks: waiting would never end."""
    resume = threading.Event()

    def work(number: int) -> int:
        if number:
            resume.wait(30)
        return number

    running = parallel_map(work, range(1000), workers=2)
    assert next(running) == (0, 0)
    started = time.monotonic()
    del running
    assert time.monotonic() - started < 5
    resume.set()


@pytest.fixture(autouse=True)
def earlier_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of an earlier test may keep its stream and its threads until it is collected."""
    monkeypatch.setattr(sys.modules[__name__], "_EARLIER", {*threading.enumerate()})


_EARLIER: set[threading.Thread] = set()


def workers_alive() -> list[str]:
    threads = {*threading.enumerate()} - _EARLIER
    return [thread.name for thread in threads if thread.name.startswith("sharpeye")]
