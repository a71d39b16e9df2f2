"""A client that repeats a failing request cannot fill the disk with messages."""

import logging
from typing import Any

import pytest

from http_client import StubModel, client_of
from sharpeye.serve.log_limit import RecordLimit


def record() -> logging.LogRecord:
    return logging.LogRecord("x", logging.ERROR, "x.py", 1, "%s failed", ("it",), None)


def test_records_over_the_limit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    limit = RecordLimit(count=3, seconds=60)
    assert [limit.filter(record()) for _ in range(10)] == [True] * 3 + [False] * 7
    now += 61
    first, second = record(), record()
    assert limit.filter(first)
    assert limit.filter(second)
    assert first.getMessage() == "it failed (after 7 messages that are not shown)"
    assert second.getMessage() == "it failed"


@pytest.mark.slow
def test_a_bug_that_is_met_a_hundred_times_is_logged_some_times(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(StubModel):
        def predict(self, source: Any, top: int = 5) -> Any:
            if isinstance(source, bytes):
                raise ZeroDivisionError("at work")
            return super().predict(source, top)

    with client_of(Broken()) as client:
        for _ in range(100):
            assert client.post("/v1/predict", content=b"x").status_code == 500
    assert len([each for each in caplog.records if each.exc_info]) <= 10
