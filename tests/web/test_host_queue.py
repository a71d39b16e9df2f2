"""The order of tasks, and the limits and pauses of hosts."""

import threading
import time

from sharpeye.web.host_queue import HostQueue


def test_tasks_of_a_host_come_in_order_and_few_at_once() -> None:
    queue = HostQueue[int](2)
    for number in range(3):
        queue.put("a", number)
    queue.put("b", 10)
    assert [queue.take() for _ in range(3)] == [("a", 0), ("a", 1), ("b", 10)]
    queue.done("a")
    assert queue.take() == ("a", 2)
    for host in "aab":
        queue.done(host)
    assert queue.take() is None


def test_a_delayed_task_lets_others_pass() -> None:
    queue = HostQueue[str](1)
    queue.put("a", "again", 0.2)
    queue.put("a", "now")
    begin = time.monotonic()
    assert queue.take() == ("a", "now")
    queue.done("a")
    assert queue.take() == ("a", "again")
    assert time.monotonic() - begin > 0.19


def test_a_pause_of_one_host_delays_no_other() -> None:
    queue = HostQueue[int](4)
    queue.put("a", 1)
    queue.put("b", 2)
    queue.pause("a", 0.2)
    begin = time.monotonic()
    assert queue.take() == ("b", 2)
    assert time.monotonic() - begin < 0.1
    assert queue.take() == ("a", 1)
    assert time.monotonic() - begin > 0.19


def test_stop_ends_every_waiting_take() -> None:
    queue, results = HostQueue[int](1), list[object]()
    queue.put("a", 1)
    queue.put("a", 2)
    assert queue.take() == ("a", 1)
    waiting = [threading.Thread(target=lambda: results.append(queue.take())) for _ in range(3)]
    for thread in waiting:
        thread.start()
    queue.stop()
    for thread in waiting:
        thread.join(5)
    assert results == [None, None, None]


def test_many_threads_take_each_task_once() -> None:
    queue, results, lock = HostQueue[int](3), list[int](), threading.Lock()
    for number in range(900):
        queue.put(f"host{number % 7}", number)

    def work() -> None:
        while item := queue.take():
            host, number = item
            with lock:
                results.append(number)
            if number < 100:  # once more
                queue.put(host, number + 1000)
            queue.done(host)

    workers = [threading.Thread(target=work) for _ in range(12)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join(20)
    assert sorted(results) == [*range(900), *range(1000, 1100)]
