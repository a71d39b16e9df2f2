"""A process that has imported SharpEye, and forks itself for each command: no case waits for
imports.

    python -m battery.fork_server MODULE...

It imports the modules and all of SharpEye. Each line of its standard input is a `ForkRequest` as
JSON; it answers with the number of the new process and, when that has ended, with its exit code,
its user and system time, and its largest resident set. See `forked_commands` for the other side.
"""

import atexit
import contextlib
import gc
import json
import os
import pkgutil
import resource
import signal
import sys
import threading
import traceback
from importlib import import_module
from typing import Any, NoReturn

from battery.counted_calls import count_calls
from sharpeye.__main__ import main as run_command
from sharpeye.cli.signals import exit_on_signals

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    for name in (*sharpeye_modules(), *sys.argv[1:]):
        import_module(name)
    gc.freeze()  # A collection would copy the pages that the processes share.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # A new process unblocks them.
    for line in sys.stdin:
        request = json.loads(line)
        process = os.fork()
        if process == 0:
            run_forked(request)
        print(json.dumps(process), flush=True)
        _, status, used = os.wait4(process, 0)
        code = os.waitstatus_to_exitcode(status)
        print(json.dumps([code, used.ru_utime + used.ru_stime, used.ru_maxrss]), flush=True)


def sharpeye_modules() -> list[str]:
    """All modules of SharpEye but programs, and what imports slow frameworks."""
    import sharpeye

    names = [module.name for module in pkgutil.walk_packages(sharpeye.__path__, "sharpeye.")]
    slow = ("__main__", ".studio", ".engine_", ".blocks", ".box_heads", ".pixel_augment")
    return [name for name in names if not any(word in name for word in slow)]


def run_forked(request: dict[str, Any]) -> NoReturn:
    """Run a command in a process that was just forked, as if it had been started from a shell."""
    os.setsid()
    os.chdir(request["cwd"])
    os.environ.update(request["env"])
    streams = [os.open(os.devnull, os.O_RDONLY)]
    streams += [os.open(request[name], os.O_WRONLY | os.O_CREAT) for name in ("out", "err")]
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    for number in _SIGNALS:  # The background of a shell may ignore them.
        signal.signal(number, signal.SIG_DFL)
    exit_on_signals()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    for name, limit in request["limits"].items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    if request["cores"]:
        os.sched_setaffinity(0, request["cores"])
    if request["calls"]:
        count_calls(**request["calls"])

    sys.argv[1:] = request["arguments"]
    code: object = 1
    try:
        run_command()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]  As Python's own end does.
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(int(str(code)))  # Destructors would wait for threads that a fork does not copy.


if __name__ == "__main__":
    main()
