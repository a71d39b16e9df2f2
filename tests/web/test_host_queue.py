"""Whose turn it is."""

import threading
import time

from sharpeye.web.host_queue import HostQueue


def test_tasks_of_a_host_come_in_order_and_few_at_once() -> None:
    turns = HostQueue[int](2)
    for number in range(3):
        turns.put("a", number)
    turns.put("b", 10)
    assert [turns.take() for _ in range(3)] == [("a", 0), ("a", 1), ("b", 10)]
    turns.done("a")
    assert turns.take() == ("a", 2)
    for host in "aab":
        turns.done(host)
    assert turns.take() is None


def test_a_task_may_come_again_later_and_others_go_before_it() -> None:
    turns = HostQueue[str](1)
    turns.put("a", "again", 0.2)
    turns.put("a", "now")
    begin = time.monotonic()
    assert turns.take() == ("a", "now")
    turns.done("a")
    assert turns.take() == ("a", "again")
    assert time.monotonic() - begin > 0.19


def test_a_host_that_rests_stops_no_other() -> None:
    turns = HostQueue[int](4)
    turns.put("a", 1)
    turns.put("b", 2)
    turns.pause("a", 0.2)
    begin = time.monotonic()
    assert turns.take() == ("b", 2)
    assert time.monotonic() - begin < 0.1
    assert turns.take() == ("a", 1)
    assert time.monotonic() - begin > 0.19


def test_who_waits_learns_of_the_end() -> None:
    turns, seen = HostQueue[int](1), list[object]()
    turns.put("a", 1)
    turns.put("a", 2)
    assert turns.take() == ("a", 1)
    waiting = [threading.Thread(target=lambda: seen.append(turns.take())) for _ in range(3)]
    for thread in waiting:
        thread.start()
    turns.stop()
    for thread in waiting:
        thread.join(5)
    assert seen == [None, None, None]


def test_many_threads_take_each_task_once() -> None:
    turns, seen, lock = HostQueue[int](3), list[int](), threading.Lock()
    for number in range(900):
        turns.put(f"host{number % 7}", number)

    def work() -> None:
        while taken := turns.take():
            host, number = taken
            with lock:
                seen.append(number)
            if number < 100:  # once more
                turns.put(host, number + 1000)
            turns.done(host)

    crew = [threading.Thread(target=work) for _ in range(12)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join(20)
    assert sorted(seen) == [*range(900), *range(1000, 1100)]
