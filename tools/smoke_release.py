"""Run every command from the built wheel, on each supported Python of this machine.

    python -m tools.smoke_release [dist/NAME.whl] [--python 3.12]

Environments, images and outputs lie in a temporary folder, outside of the checkout; TensorFlow is
installed once a Python, which takes minutes and 3 GB at a time. Exit code 1 if a command ends with
another exit code than it should, shows a traceback or a warning of Python, or has no step.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tools.pythons import ROOT, find_python, supported_versions
from tools.smoke_steps import ENVIRONMENTS, Environment, Step, missing_commands

FIXTURES = ROOT / "tests" / "compatibility"
TIMEOUT = 600
_LIST_COMMANDS = """
import json, typer
from importlib import import_module
from sharpeye.cli.app import COMMANDS
names = []
for name in COMMANDS:
    app = import_module(f"sharpeye.cli.{name.replace('-', '_')}").app
    inner = getattr(typer.main.get_command(app), "commands", {})
    names += [f"{name} {word}" for word in inner] or [name]
print(json.dumps(names))
"""

# (row of the table, Python) -> (exit code or what is wrong, seconds)
Results = dict[tuple[str, str], tuple[str, float]]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wheel", nargs="?", type=Path)
    parser.add_argument("--python", action="append", help="only this version")
    arguments = parser.parse_args()
    wheel = (arguments.wheel or newest_wheel()).resolve()
    versions = arguments.python or supported_versions()
    results: Results = {}
    failures: list[str] = []
    tried = []
    for version in versions:
        python = find_python(version)
        if python is None:
            print(f"Python {version} is not installed here: skipped")
            continue
        tried.append(version)
        for environment in ENVIRONMENTS:
            with tempfile.TemporaryDirectory(prefix="sharpeye-smoke-") as folder:
                run = SmokeRun(Path(folder), version, results, failures)
                run.run(environment, python, wheel)
    print(table(results, tried))
    print("\n".join(failures))
    print(f"{len(results)} commands, {len(failures)} failed")
    return 1 if failures or not tried else 0


def newest_wheel() -> Path:
    wheels = sorted((ROOT / "dist").glob("*.whl"), key=lambda file: file.stat().st_mtime)
    if not wheels:
        sys.exit("dist/ has no wheel; run: make dist")
    return wheels[-1]


class SmokeRun:
    """The steps of one environment with one Python, in one folder."""

    def __init__(self, folder: Path, version: str, results: Results, failures: list[str]) -> None:
        self.work, self.bin = folder / "work", folder / "venv" / "bin"
        self.version, self.results, self.failures = version, results, failures
        self.variables = {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder / "home"),
            "SHARPEYE_CACHE": str(folder / "cache"),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
        }

    def run(self, environment: Environment, python: str, wheel: Path) -> None:
        self._prepare()
        subprocess.run([python, "-m", "venv", self.bin.parent], check=True)
        with serving(self.work) as server:
            (self.work / "served" / "urls.txt").write_text(
                "".join(f"{server}/served/photos/0/{n}.png\n" for n in range(3)), encoding="utf-8"
            )
            for extras, steps in environment.stages:
                self._install(wheel, extras)
                for step in steps:
                    self._step(step, extras, server)
                if not extras:
                    self._help_pages()

    def _prepare(self) -> None:
        given = self.work / "given"
        shutil.copytree(FIXTURES / "0.3.0", given)
        shutil.copytree(FIXTURES / "0.1.0" / "images", given / "images")
        more = self.work / "more"
        for label in sorted(folder.name for folder in (given / "images").iterdir()):
            images = sorted((given / "images" / label).iterdir())
            served, more = self.work / "served/photos" / label, self.work / "more" / label
            served.mkdir(parents=True)
            more.mkdir(parents=True)
            for number, image in enumerate(images[:6]):
                shutil.copy(image, served / f"{number}.png")
            for image in images[-4:]:
                image.rename(more / image.name)
        shutil.make_archive(
            str(self.work / "served" / "photos"), "zip", self.work / "served/photos"
        )
        first = sorted((given / "images" / "0").iterdir())[0].name
        (self.work / "fixes.csv").write_text(f"path,label,new_label\n0/{first},0,1\n")
        Path(self.variables["HOME"]).mkdir()

    def _install(self, wheel: Path, extras: str) -> None:
        begin = time.monotonic()
        requirement = f"{wheel}[{extras}]" if extras else str(wheel)
        command = [self.bin / "python", "-m", "pip", "install", "--quiet", requirement]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            self.failures.append(f"{self.version} pip install {requirement}: {done.stderr[-800:]}")
        self._note(f"pip install [{extras or 'base'}]", str(done.returncode), begin)

    def _note(self, row: str, outcome: str, begin: float) -> None:
        seconds = time.monotonic() - begin
        self.results[row, self.version] = (outcome, seconds)
        print(f"{self.version}  {row:70.70} {outcome:>9} {seconds:6.1f} s", flush=True)

    def _step(self, step: Step, extras: str, server: str) -> None:
        begin = time.monotonic()
        words = [word.replace("{server}", server) for word in step.words]
        command = [str(self.bin / words[0]), *words[1:]]
        try:
            code, output = self._serve(command, step) if step.request else self._call(command)
        except Exception as error:  # each step has its row, whatever happens
            code, output = -1, f"{type(error).__name__}: {error}"
        problems = [
            *([f"exit code {code}, not {step.exit_code}"] if code != step.exit_code else []),
            *([f"prints no {step.output!r}"] if step.output not in output else []),
            *(f"shows a {word}" for word in ("Traceback", "Warning:") if word in output),
        ]
        if problems:
            shown = f"{self.version} {step.line}: {'; '.join(problems)}"
            self.failures.append(f"{shown}\n{output[-2000:]}")
        name = re.sub(r"-P -c .*", "-P -c ...", step.line)
        row = f"[{extras.partition(',')[0] or 'base'}] {name}"
        self._note(row, f"{code} FAILED" if problems else str(code), begin)

    def _call(self, command: list[str]) -> tuple[int, str]:
        done = subprocess.run(
            command,
            cwd=self.work,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        return done.returncode, done.stdout + done.stderr

    def _serve(self, command: list[str], step: Step) -> tuple[int, str]:
        """Start a server, send it one request, end it by SIGTERM."""
        process = subprocess.Popen(
            command,
            cwd=self.work,
            env=self.variables,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        watchdog = threading.Timer(TIMEOUT, process.kill)
        watchdog.start()
        try:
            output = ""
            for line in process.stdout or ():
                output += line
                if address := re.search(r"http://127\.0\.0\.1:\d+", line):
                    output += self._request(address[0], step.request)
                    break
            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate(timeout=60)
            return process.returncode, output + rest
        finally:
            watchdog.cancel()
            process.kill()

    def _request(self, address: str, request: str) -> str:
        method, _, rest = request.partition(" ")
        path, _, file = rest.partition(" ")
        data = (self.work / file).read_bytes() if method == "POST" else None
        url = address + (path if data is not None else request)
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=60) as response:
            return response.read().decode()

    def _help_pages(self) -> None:
        """The help of every command, and a step for each: the list is the command line's own."""
        begin = time.monotonic()
        code, output = self._call([str(self.bin / "python"), "-P", "-c", _LIST_COMMANDS])
        names: list[str] = json.loads(output) if code == 0 else []
        for name in names:
            help_code, text = self._call([str(self.bin / "sharpeye"), *name.split(), "--help"])
            if help_code or "Usage" not in text:
                self.failures.append(f"{self.version} {name} --help: exit code {help_code}\n{text}")
        for name in missing_commands(names):
            self.failures.append(f"{name}: has no step in tools/smoke_steps.py")
        if not names:
            self.failures.append(f"{self.version}: cannot list the commands\n{output}")
        self._note(f"[base] --help of {len(names)} commands", str(code), begin)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A web server of this machine for the files of a folder; its address."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def table(results: Results, versions: list[str]) -> str:
    """Commands by Pythons: exit code and seconds."""
    rows = list(dict.fromkeys(row for row, _ in results))
    lines = [f"{'command':72}" + "".join(f"{version:>18}" for version in versions)]
    for row in rows:
        cells = (results.get((row, version)) for version in versions)
        shown = (f"{cell[0]:>9} {cell[1]:6.1f} s" if cell else "-" for cell in cells)
        lines.append(f"{row:72.72}" + "".join(f"{text:>18}" for text in shown))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
