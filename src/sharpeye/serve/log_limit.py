"""Bound what a server logs: a client can repeat a request that fails as often as it likes."""

import logging
import threading
import time

# Loggers of the server below the application: bugs with their tracebacks, and full tables of files.
_LOGGERS = ("uvicorn.error", "asyncio")


class RecordLimit(logging.Filter):
    """Passes at most `count` records in each period of `seconds`, and counts the others.

    The first record of a later period says how many were left out.
    """

    def __init__(self, count: int = 10, seconds: float = 60.0) -> None:
        super().__init__()
        self._count, self._seconds = count, seconds
        self._lock = threading.Lock()
        self._end, self._passed, self._omitted = 0.0, 0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log a record."""
        now = time.monotonic()
        with self._lock:
            if now >= self._end:
                self._end, self._passed = now + self._seconds, 0
            if self._passed >= self._count:
                self._omitted += 1
                return False
            self._passed += 1
            omitted, self._omitted = self._omitted, 0
        if omitted:
            text = record.getMessage()
            record.msg, record.args = f"{text} (after {omitted} messages that are not shown)", ()
        return True


def limit_server_logs() -> None:
    """Bound the server's loggers, once."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, RecordLimit) for each in logger.filters):
            logger.addFilter(RecordLimit())
