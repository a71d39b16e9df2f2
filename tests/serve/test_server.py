"""The command: a real process, from its first line to its end."""

import json
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from http_client import Running, lines, serving, text64

from runner import call, one_line
from sharpeye.cli.app import run
from sharpeye.errors import UsageError
from sharpeye.serve.server import check_name, name_of

URL = "/v1/predict"


def stop(running: Running, number: int = signal.SIGTERM) -> tuple[int, str]:
    """(exit code, what it said on stderr) after a signal."""
    running.process.send_signal(number)
    _, said = running.process.communicate(timeout=30)
    return running.process.returncode, said


# --- at work -------------------------------------------------------------------------------------


def test_all_protocols_of_a_real_server(server: Running, trained: Path, image: bytes) -> None:
    assert server.said == [f"serving trees at {server.url}\n"]
    text = text64(image)
    with server.client() as client:
        assert client.get("/healthz").json()["status"] == "ok"
        assert client.get("/").headers["content-type"].startswith("text/html")
        (own,) = client.post(URL, files={"file": image}).json()["predictions"]
        instances = {"instances": [{"b64": text}]}
        (row,) = client.post("/v1/models/trees:predict", json=instances).json()["predictions"]
        tensor = {"name": "x", "datatype": "BYTES", "shape": [1], "data": [text]}
        said = client.post("/v2/models/trees/infer", json={"inputs": [tensor]}).json()
    assert said["outputs"][0]["data"] == row
    assert said["outputs"][1]["data"] == [own["label"]]
    assert max(row) == pytest.approx(own["score"], abs=1e-6)


def test_concurrent_clients_get_the_answers_of_the_command_line(
    server: Running, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hard = trained.parent / "hard"
    assert run(["predict", str(trained), str(hard), "--format", "jsonl"]) == 0
    right = lines(capsys.readouterr().out)

    def ask(number: int) -> None:
        with server.client() as client:
            for i in range(12):
                one = dict(right[(7 * number + i) % len(right)])
                path = Path(one.pop("path"))
                (found,) = client.post(URL, files={"file": path.read_bytes()}).json()["predictions"]
                del found["name"]
                assert found == one

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(16)))


def test_curl_and_the_standard_library_can_ask(
    server: Running, trained: Path, image: bytes
) -> None:
    from urllib.request import Request, urlopen

    with urlopen(Request(server.url + URL, data=image)) as response:
        assert json.load(response)["predictions"][0]["label"] in ("ash", "birch", "cedar")


# --- the end -------------------------------------------------------------------------------------

SLOW = """
import sys, time
from pathlib import Path
from sharpeye.cli.app import run
from sharpeye.predict.predictor import Model
real = Model.predict
def slow(self, source, top=5):
    if isinstance(source, bytes):
        print("begun", flush=True)
        time.sleep(1.0)
    return real(self, source, top)
Model.predict = slow
sys.exit(run(["serve", sys.argv[1], "--port", "0"]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_lets_what_runs_be_finished_and_refuses_what_is_new(
    trained: Path, cache: Path, image: bytes, number: int
) -> None:
    with serving(trained, program=SLOW, cache=cache) as running, ThreadPoolExecutor(1) as pool:
        begun = pool.submit(httpx.post, running.url + URL, content=image, timeout=30)
        assert running.process.stdout is not None
        assert running.process.stdout.readline() == "begun\n"
        running.process.send_signal(number)
        time.sleep(0.4)
        with pytest.raises(httpx.ConnectError):
            httpx.get(running.url + "/healthz")
        assert begun.result().status_code == 200
        _, said = running.process.communicate(timeout=30)
    assert running.process.returncode == 0
    assert said == "stopped\n"


def test_idle_and_half_open_connections_do_not_hold_up_the_end(trained: Path, cache: Path) -> None:
    with serving(trained, "-q", cache=cache) as running:
        idle = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(10)]
        for connection in idle[:5]:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: ")
        with running.client() as client:
            client.get("/healthz")
            started = time.monotonic()
            assert stop(running) == (0, "")
            assert time.monotonic() - started < 5
        for connection in idle:
            connection.close()


# --- the beginning -------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_6_in_one_line(
    server: Running, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", str(trained), "--port", str(server.port)]) == 6
    out, err = capsys.readouterr()
    assert out == ""
    assert f"another program listens at 127.0.0.1:{server.port}" in one_line(err)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--host", "203.0.113.7"), 2, "cannot listen at 203.0.113.7"),
        (("--host", "no.such.host.invalid"), 2, "cannot listen at no.such.host.invalid"),
        (("--host", "x" * 300), 2, "a host is a name or an address"),
        (("--name", "a/b"), 2, "letters, digits"),
        (("--token", "short"), 2, "8 to 500 visible"),
        (("--token", "with a space in it"), 2, "8 to 500 visible"),
        (("--timeout", "soon"), 2, "a time limit is"),
        (("--port", "70000"), 2, "--port"),
        (("--max-mb", "0"), 2, "--max-mb"),
    ],
)
def test_wrong_options_end_in_one_line(
    trained: Path,
    options: tuple[str, ...],
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["serve", str(trained), "--port", "0", *options]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert words in one_line(err)


def test_a_model_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", str(tmp_path / "nowhere")]) == 2
    assert "no such model" in one_line(capsys.readouterr().err)
    assert run(["serve", str(tmp_path)]) == 4
    assert "no finished model" in one_line(capsys.readouterr().err)


def test_without_the_extra_it_says_what_to_install(trained: Path, cache: Path) -> None:
    program = (
        "import sys\n"
        "sys.modules['fastapi'] = None\n"
        "from sharpeye.cli.app import run\n"
        "sys.exit(run(['serve', sys.argv[1]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(trained)], capture_output=True, text=True
    )
    assert done.returncode == 5
    assert "pip install 'sharpeye[serve]'" in one_line(done.stderr)


def test_beyond_this_machine_a_token_is_made_and_needed(
    trained: Path, cache: Path, image: bytes
) -> None:
    with serving(trained, "--host", "0.0.0.0", cache=cache) as running:
        url = f"http://127.0.0.1:{running.port}"
        assert httpx.get(url + "/healthz").status_code == 200
        assert httpx.post(url + URL, content=image).status_code == 401
        assert running.process.stderr is not None
        said = running.process.stderr.readline()
        name, _, header = said.strip().partition(": ")
        assert name == "token made"
        key, _, value = header.partition(": ")
        assert len(value) > 30
        response = httpx.post(url + URL, content=image, headers={key: value})
        assert response.status_code == 200
        assert stop(running)[0] == 0


def test_a_token_of_ones_own_by_environment(trained: Path, cache: Path, image: bytes) -> None:
    with serving(trained, "--host", "::1", cache=cache, SHARPEYE_TOKEN="my-own-token") as running:
        assert running.url.startswith("http://[::1]:")
        assert httpx.post(running.url + URL, content=image).status_code == 401
        headers = {"Authorization": "Bearer my-own-token"}
        assert httpx.post(running.url + URL, content=image, headers=headers).status_code == 200
        code, said = stop(running)
        assert (code, said) == (0, "stopped\n")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/flowers", "flowers"),
        ("runs/flowers/model.onnx", "flowers"),
        ("ship/rose-v2.onnx", "rose-v2"),
        ("runs/My photos!", "My-photos"),
        ("runs/日本", "model"),
    ],
)
def test_a_model_is_called_after_its_place(tmp_path: Path, path: str, name: str) -> None:
    place = tmp_path / path
    if place.suffix:
        place.parent.mkdir(parents=True)
        place.touch()
    else:
        place.mkdir(parents=True)
    assert name_of(place) == name
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a:b", "é", "x" * 101])
def test_names_that_addresses_cannot_hold_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name)


def test_verbose_says_a_line_a_request_with_nothing_odd_in_it(trained: Path, cache: Path) -> None:
    with serving(trained, "-v", cache=cache) as running:
        httpx.get(running.url + "/x%1b%5b31m%0aGET")
        code, said = stop(running)
    assert code == 0
    assert "GET /x\\x1b[31m\\nGET 404" in said


def test_help_needs_nothing_of_the_extra(cache: Path) -> None:
    done = call("serve", "--help", cache=cache)
    assert done.returncode == 0
    assert "exit code 0" in " ".join(done.stdout.split())
