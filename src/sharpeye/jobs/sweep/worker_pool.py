"""The pool of processes that run the trials of a sweep."""

import contextlib
import itertools
import logging
import tempfile
from pathlib import Path
from typing import IO, NamedTuple

from sharpeye.core.inference import available_cores
from sharpeye.core.processes import ChildProcess, child_error, ends_within, start_module
from sharpeye.errors import EnvironmentFault, UsageError
from sharpeye.jobs.sweep.study import Study

log = logging.getLogger(__name__)

_SECONDS_TO_END = 10.0  # Seconds for a worker to end before it is killed.


class _Worker(NamedTuple):
    number: int
    process: ChildProcess
    errors: IO[bytes]


class WorkerPool:
    """Worker processes; dead ones are replaced. Use as a context manager, which ends them."""

    def __init__(self, folder: Path, study: Study, count: int) -> None:
        self._folder, self._study, self._count = folder, study, count
        self._workers: list[_Worker] = []
        self._numbers = itertools.count()

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def supervise(self) -> bool:
        """Replace dead workers; returns whether any trial remains.

        Raises:
            EnvironmentFault, UsageError: a worker could not continue.
        """
        for worker in list(self._workers):
            if worker.process.poll() is not None:
                self._workers.remove(worker)
                with worker.errors:
                    self._handle_exit(worker)
        if not self._workers:
            # A worker may have been killed before it recorded its number with its trial.
            self._study.worker_died(None, "its worker died")
        for _ in range(min(self._count - len(self._workers), self._study.queue_length)):
            self._workers.append(self._start())
        return bool(self._workers)

    def _start(self) -> _Worker:
        number = next(self._numbers)
        environment = {
            # More threads than cores cost a third of the speed.
            "SHARPEYE_CORES": str(max(1, available_cores() // self._count)),
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        }
        errors = tempfile.TemporaryFile()  # noqa: SIM115  It is closed with the worker.
        process = start_module(
            "sharpeye.jobs.sweep.worker",
            str(self._folder),
            str(number),
            errors=errors,
            environment=environment,
            # Ctrl-C reaches only this process, which then ends the worker properly.
            start_new_session=True,
        )
        return _Worker(number, process, errors)

    def _handle_exit(self, worker: _Worker) -> None:
        code = worker.process.returncode
        if code == 0:
            return
        worker.errors.seek(0)
        text = worker.errors.read().decode("utf-8", "replace").strip()
        error = child_error(code, text or "it wrote no message")
        if code in (EnvironmentFault.exit_code, UsageError.exit_code):
            raise error
        how = f"signal {-code}" if code < 0 else f"status {code}"
        reason = f"its worker died twice, with {how}: {error}"
        if not self._study.worker_died(worker.number, reason):
            raise EnvironmentFault(f"a worker of the sweep ended with {how}: {error}")
        log.warning("a worker ended with %s; its trial is run once more", how)

    def stop(self) -> None:
        """End all workers; their trials stay marked as running in the study."""
        for worker in self._workers:
            with contextlib.suppress(OSError):
                worker.process.terminate()
        for worker in self._workers:
            if not ends_within(worker.process, _SECONDS_TO_END):
                worker.process.kill()
                worker.process.wait()
            worker.errors.close()
        self._workers.clear()
