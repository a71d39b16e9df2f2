"""Large images, also of a few kilobytes, do not delay ordinary ones, and memory is bounded."""

import asyncio
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from http_client import StubModel, base64_of, client_of
from sharpeye.images.decode_limits import MB, DecodeLimits, limits_in_force, use_limits
from sharpeye.images.memory_budget import BUDGET
from sharpeye.serve.large_images import LargeImageQueue, large_image_bytes
from sharpeye.serve.limits import RequestRefused
from sharpeye.serve.server import limit_decoding

URL = "/v1/predict"


def png(width: int, height: int, mode: str = "1") -> bytes:
    """A file of one colour: some kilobytes, whatever its size."""
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, "PNG")
    return file.getvalue()


LARGE, ORDINARY = png(5000, 5000), png(100, 100)


class Slow(StubModel):
    """Large images wait for `may_finish`, others are predicted at once."""

    def __init__(self) -> None:
        super().__init__()
        self.large = 0

    def predict(self, source: Any, top: int = 5) -> Any:
        if not isinstance(source, bytes) or source != LARGE:
            return StubModel().predict(source, top)
        self.large += 1
        return super().predict(source, top)


def test_the_header_says_which_images_are_large() -> None:
    assert len(LARGE) < 8000
    assert large_image_bytes(LARGE) >= 5 * 25 * MB
    assert large_image_bytes(ORDINARY) == 0
    assert large_image_bytes(b"no image") == 0
    assert large_image_bytes(LARGE[:20]) == 0
    with use_limits(DecodeLimits(memory_bytes=50 * MB)):
        assert large_image_bytes(LARGE) == 0  # refused by its header


def test_ordinary_images_are_answered_while_large_ones_wait() -> None:
    model = Slow()
    with client_of(model) as client, ThreadPoolExecutor(16) as pool:
        model.may_finish.clear()
        waiting = [pool.submit(client.post, URL, content=LARGE) for _ in range(10)]
        while not model.large:
            time.sleep(0.01)
        started = time.monotonic()
        for _ in range(20):
            assert client.post(URL, content=ORDINARY).status_code == 200
        assert time.monotonic() - started < 5
        model.may_finish.set()
        assert [future.result().status_code for future in waiting] == [200] * 10


def test_too_many_large_images_are_503_and_ordinary_ones_are_not() -> None:
    model = Slow()
    with client_of(model) as client, ThreadPoolExecutor(32) as pool:
        model.may_finish.clear()
        waiting = [pool.submit(client.post, URL, content=LARGE) for _ in range(16)]
        text = base64_of(LARGE)
        while "sharpeye_requests_inside 16.0" not in client.get("/metrics").text:
            time.sleep(0.01)
        time.sleep(0.5)  # a worker has read the headers of all
        for response in (
            client.post(URL, json={"images": [text, text]}),
            client.post("/v1/models/trees:predict", json={"instances": [text, text]}),
        ):
            assert response.status_code == 503
            assert "16 large images are waiting" in response.json()["error"]
            assert response.headers["retry-after"] == "1"
        assert client.post(URL, content=ORDINARY).status_code == 200
        model.may_finish.set()
        assert {future.result().status_code for future in waiting} == {200}
        assert client.post(URL, content=LARGE).status_code == 200


class Work:
    """Counts the bytes of the work that runs; each piece waits until `may_end`."""

    def __init__(self) -> None:
        self.may_end, self._lock = threading.Event(), threading.Lock()
        self.running, self.most, self.order = 0, 0, []

    def do(self, name: str, cost: int) -> str:
        with self._lock:
            self.running += cost
            self.most = max(self.most, self.running)
            self.order.append(name)
        self.may_end.wait(10)
        with self._lock:
            self.running -= cost
        return name


def test_work_starts_in_order_and_within_the_memory() -> None:
    work = Work()
    work.may_end.set()

    async def run() -> list[str]:
        queue = LargeImageQueue(workers=4)
        queue._free_bytes = 100
        costs = [60, 60, 30, 100, 10, 10]
        jobs = [queue.run(lambda n=n, c=c: work.do(str(n), c), c) for n, c in enumerate(costs)]
        results = await asyncio.gather(*jobs)
        await asyncio.sleep(0.05)
        assert queue._free_bytes == 100
        queue.close()
        return results

    assert asyncio.run(run()) == ["0", "1", "2", "3", "4", "5"]
    assert work.most <= 100
    # 1 and 2 start together, and 4 and 5: either may be the first to be noted.
    started = [work.order[:1], sorted(work.order[1:3]), work.order[3:4], sorted(work.order[4:])]
    assert started == [["0"], ["1", "2"], ["3"], ["4", "5"]]


def test_work_that_is_given_up_keeps_its_memory_until_its_thread_ends() -> None:
    work = Work()

    async def run() -> None:
        queue = LargeImageQueue(workers=2)
        queue._free_bytes = 100
        tasks = [asyncio.create_task(queue.run(lambda: work.do("a", 80), 80)) for _ in range(3)]
        while not work.running:
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert queue._free_bytes == 20
        assert queue._count == 1  # the one that runs
        work.may_end.set()
        assert await queue.run(lambda: work.do("b", 100), 100) == "b"
        await asyncio.sleep(0.05)
        assert (queue._free_bytes, queue._count) == (100, 0)
        queue.close()

    asyncio.run(run())
    assert work.most == 100


def test_an_error_of_the_work_is_raised_and_gives_its_memory_back() -> None:
    async def run() -> None:
        queue = LargeImageQueue(workers=1)
        free = queue._free_bytes
        for _ in range(20):  # more than may wait at once
            with pytest.raises(ZeroDivisionError):
                await queue.run(lambda: 1 // 0, 10)
        await asyncio.sleep(0.05)
        assert queue._free_bytes == free
        queue.close()

    asyncio.run(run())


def test_the_number_of_waiting_images_is_bounded() -> None:
    work = Work()

    async def run() -> None:
        queue = LargeImageQueue(workers=1)
        tasks = [asyncio.create_task(queue.run(lambda: work.do("x", 1), 1)) for _ in range(16)]
        await asyncio.sleep(0.05)
        with pytest.raises(RequestRefused):
            await queue.run(lambda: work.do("x", 1), 1)
        work.may_end.set()
        await asyncio.gather(*tasks)
        queue.close()

    asyncio.run(run())


@pytest.mark.parametrize("megabytes", [100, 250, 900])
def test_a_largest_image_leaves_memory_for_ordinary_ones(
    megabytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise these would wait inside of the decoder until it is decoded."""
    monkeypatch.setenv("SHARPEYE_MAX_DECODE_MEMORY", str(megabytes))
    with use_limits(DecodeLimits()):
        limit_decoding()
        assert limits_in_force().memory_bytes == megabytes * MB
        assert LargeImageQueue(workers=2)._free_bytes >= megabytes * MB
        assert BUDGET.total >= (megabytes + 2 * 16) * MB


def test_a_turn_that_comes_while_its_request_is_given_up_is_passed_on() -> None:
    async def run() -> None:
        queue = LargeImageQueue(workers=2)
        queue._free_bytes = 0
        tasks = [asyncio.create_task(queue.run(lambda: 1, 10)) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        queue._free_bytes += 10
        queue._start_waiting()  # before the first task has run again
        tasks[1].cancel()  # after its turn has come
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]
        assert await tasks[2] == 1
        await asyncio.sleep(0.05)
        assert (queue._free_bytes, queue._count, len(queue._waiting)) == (10, 0, 0)
        queue.close()

    asyncio.run(run())
