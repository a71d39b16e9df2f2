"""The processes that run the trials of a sweep."""

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sharpeye.core.inference import available_cores
from sharpeye.errors import EnvironmentFault, UsageError
from sharpeye.jobs.sweep.study import Study

log = logging.getLogger(__name__)

_PROGRAM = (sys.executable, "-m", "sharpeye.jobs.sweep.worker")
_ENOUGH = 10.0  # seconds that a worker has to end before it is killed


@dataclass
class _Worker:
    number: int
    process: "subprocess.Popen[bytes]"
    errors: IO[bytes]

    def last_words(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1].strip() if lines else "it said nothing"


class WorkerPool:
    """Workers; one that dies is replaced. Use as a context manager: at its end they are ended."""

    def __init__(self, folder: Path, study: Study, count: int) -> None:
        self._folder, self._study, self._count = folder, study, count
        self._workers: list[_Worker] = []
        self._started = 0

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def busy(self) -> bool:
        """Look after the workers; False when every trial has ended.

        Raises:
            EnvironmentFault, UsageError: a worker could not go on.
        """
        for worker in list(self._workers):
            if worker.process.poll() is not None:
                self._workers.remove(worker)
                with worker.errors:
                    self._bury(worker)
        if not self._workers:
            # Of a worker that was killed between taking a trial and saying so.
            self._study.crashed(None, "its worker died")
        waiting = self._study.waiting
        while len(self._workers) < min(self._count, len(self._workers) + waiting):
            self._workers.append(self._start())
            waiting -= 1
        return bool(self._workers)

    def _start(self) -> _Worker:
        number = self._started
        self._started += 1
        # Each has its share of the cores: more threads than cores cost a third of the speed.
        environment = os.environ | {
            "SHARPEYE_CORES": str(max(1, available_cores() // self._count)),
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        }
        errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the worker
        process = subprocess.Popen(
            [*_PROGRAM, str(self._folder), str(number)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            # Ctrl-C is for this process, which then ends the worker in order.
            start_new_session=True,
        )
        return _Worker(number, process, errors)

    def _bury(self, worker: _Worker) -> None:
        code = worker.process.returncode
        if code == 0:
            return
        words = worker.last_words()
        if code in (EnvironmentFault.exit_code, UsageError.exit_code):
            raise (EnvironmentFault if code == EnvironmentFault.exit_code else UsageError)(words)
        how = f"signal {-code}" if code < 0 else f"status {code}"
        if not self._study.crashed(worker.number, f"its worker died twice, with {how}: {words}"):
            raise EnvironmentFault(f"a worker of the sweep ended with {how}: {words}")
        log.warning("a worker ended with %s; its trial is run once more", how)

    def stop(self) -> None:
        """End all workers; what they were at stays in the study as running."""
        for worker in self._workers:
            with contextlib.suppress(OSError):
                worker.process.terminate()
        for worker in self._workers:
            try:
                worker.process.wait(_ENOUGH)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            worker.errors.close()
        self._workers.clear()
