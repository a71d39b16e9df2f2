"""`sharpeye serve` as a process, from its first line of output to its end."""

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

from http_client import RunningServer, base64_of, json_lines, serving
from runner import call, one_line
from sharpeye.cli.app import run
from sharpeye.errors import UsageError
from sharpeye.serve.limits import REQUEST_LIMITS
from sharpeye.serve.server import (
    ServerOptions,
    check_model_name,
    default_model_name,
    open_listener,
)

URL = "/v1/predict"


def stop(running: RunningServer, number: int = signal.SIGTERM) -> tuple[int, str]:
    """(exit code, stderr) after a signal."""
    running.process.send_signal(number)
    _, stderr = running.process.communicate(timeout=30)
    return running.process.returncode, stderr


# --- requests ------------------------------------------------------------------------------------


def test_all_protocols_of_a_real_server(server: RunningServer, trained: Path, image: bytes) -> None:
    assert server.first_line == f"serving trees at {server.url}\n"
    text = base64_of(image)
    with server.client() as client:
        assert client.get("/healthz").json()["status"] == "ok"
        assert client.get("/").headers["content-type"].startswith("text/html")
        (native,) = client.post(URL, files={"file": image}).json()["predictions"]
        instances = {"instances": [{"b64": text}]}
        (probs,) = client.post("/v1/models/trees:predict", json=instances).json()["predictions"]
        tensor = {"name": "x", "datatype": "BYTES", "shape": [1], "data": [text]}
        outputs = client.post("/v2/models/trees/infer", json={"inputs": [tensor]}).json()["outputs"]
    assert outputs[0]["data"] == probs
    assert outputs[1]["data"] == [native["label"]]
    assert max(probs) == pytest.approx(native["score"], abs=1e-6)


def test_concurrent_clients_get_the_predictions_of_the_command_line(
    server: RunningServer, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hard = trained.parent / "hard"
    assert run(["predict", str(trained), str(hard), "--format", "jsonl"]) == 0
    expected = json_lines(capsys.readouterr().out)

    def send(number: int) -> None:
        with server.client() as client:
            for i in range(12):
                line = dict(expected[(7 * number + i) % len(expected)])
                form = {"file": Path(line.pop("path")).read_bytes()}
                (result,) = client.post(URL, files=form).json()["predictions"]
                del result["name"]
                assert result == line

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(send, range(16)))


def test_the_standard_library_can_send_requests(
    server: RunningServer, trained: Path, image: bytes
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
predict = Model.predict
def slow(self, source, top=5):
    if isinstance(source, bytes):
        print("begun", flush=True)
        time.sleep(1.0)
    return predict(self, source, top)
Model.predict = slow
sys.exit(run(["serve", sys.argv[1], "--port", "0"]))
"""


@pytest.mark.parametrize(
    "name",
    [
        "SIGTERM",
        pytest.param("SIGINT", marks=pytest.mark.slow),
        pytest.param("SIGHUP", marks=pytest.mark.slow),
    ],
)
def test_a_signal_finishes_running_requests_and_refuses_new_ones(
    trained: Path, cache: Path, image: bytes, name: str
) -> None:
    with serving(trained, program=SLOW, cache=cache) as running, ThreadPoolExecutor(1) as pool:
        running_request = pool.submit(httpx.post, running.url + URL, content=image, timeout=30)
        assert running.process.stdout is not None
        assert running.process.stdout.readline() == "begun\n"
        running.process.send_signal(signal.Signals[name])
        time.sleep(0.4)
        with pytest.raises(httpx.ConnectError):
            httpx.get(running.url + "/healthz")
        assert running_request.result().status_code == 200
        _, stderr = running.process.communicate(timeout=30)
    assert running.process.returncode == 0
    assert stderr == "stopped\n"


@pytest.mark.slow
def test_idle_and_half_open_connections_do_not_delay_the_end(trained: Path, cache: Path) -> None:
    with serving(trained, "-q", cache=cache) as running:
        idle = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(10)]
        head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n"
        for connection in idle[:5]:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: ")
        for connection in idle[5:8]:
            connection.sendall(head + b"half a body")
        with running.client() as client:
            client.get("/healthz")
            started = time.monotonic()
            assert stop(running) == (0, "")
            assert time.monotonic() - started < 5
        for connection in idle:
            connection.close()


@pytest.mark.slow
def test_a_body_that_arrives_during_the_end_is_answered(
    trained: Path, cache: Path, image: bytes
) -> None:
    with serving(trained, "-q", cache=cache) as running:
        address = ("127.0.0.1", running.port)
        head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        with socket.create_connection(address, timeout=20) as connection:
            connection.sendall(head % len(image))
            time.sleep(0.3)
            running.process.send_signal(signal.SIGTERM)
            step = len(image) // 6 + 1
            for start in range(0, len(image), step):
                time.sleep(0.4)
                connection.sendall(image[start : start + step])
            assert connection.recv(65536).split()[1] == b"200"
        assert running.process.wait(10) == 0


# --- the beginning -------------------------------------------------------------------------------


def test_no_part_of_a_response_waits_for_the_receipt_of_another() -> None:
    """Without this option the kernel holds a body back until its header is received."""
    with open_listener(ServerOptions(port=0), REQUEST_LIMITS) as listener:
        address = listener.bound_socket.getsockname()
        with socket.create_connection(address), listener.bound_socket.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_used_port_ends_with_6_in_one_line(
    server: RunningServer, trained: Path, capsys: pytest.CaptureFixture[str]
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


def test_a_path_without_a_model_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["serve", str(tmp_path / "nowhere")]) == 2
    assert "no such model" in one_line(capsys.readouterr().err)
    assert run(["serve", str(tmp_path)]) == 4
    assert "no finished model" in one_line(capsys.readouterr().err)


def test_without_the_extra_the_error_says_what_to_install(trained: Path, cache: Path) -> None:
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


@pytest.mark.slow
def test_beyond_this_machine_a_token_is_generated_and_required(
    trained: Path, cache: Path, image: bytes
) -> None:
    with serving(trained, "--host", "0.0.0.0", cache=cache) as running:
        url = f"http://127.0.0.1:{running.port}"
        assert httpx.get(url + "/healthz").status_code == 200
        assert httpx.post(url + URL, content=image).status_code == 401
        assert running.process.stderr is not None
        name, _, header = running.process.stderr.readline().strip().partition(": ")
        assert name == "token made"
        key, _, value = header.partition(": ")
        assert len(value) > 30
        response = httpx.post(url + URL, content=image, headers={key: value})
        assert response.status_code == 200
        assert stop(running)[0] == 0


def test_a_token_from_the_environment(trained: Path, cache: Path, image: bytes) -> None:
    with serving(trained, "--host", "::1", cache=cache, SHARPEYE_TOKEN="my-own-token") as running:
        assert running.url.startswith("http://[::1]:")
        assert httpx.post(running.url + URL, content=image).status_code == 401
        headers = {"Authorization": "Bearer my-own-token"}
        assert httpx.post(running.url + URL, content=image, headers=headers).status_code == 200
        assert stop(running) == (0, "stopped\n")


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
def test_a_model_is_named_by_its_path(tmp_path: Path, path: str, name: str) -> None:
    target = tmp_path / path
    if target.suffix:
        target.parent.mkdir(parents=True)
        target.touch()
    else:
        target.mkdir(parents=True)
    assert default_model_name(target) == name
    assert check_model_name(name) == name


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a:b", "é", "x" * 101])
def test_names_that_urls_cannot_hold_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_model_name(name)


@pytest.mark.slow
def test_verbose_prints_an_escaped_line_a_request(trained: Path, cache: Path) -> None:
    with serving(trained, "-v", cache=cache) as running:
        httpx.get(running.url + "/x%1b%5b31m%0aGET")
        code, stderr = stop(running)
    assert code == 0
    assert "GET /x\\x1b[31m\\nGET 404" in stderr


def test_help_works_without_the_extra(cache: Path) -> None:
    done = call("serve", "--help", cache=cache)
    assert done.returncode == 0
    assert "exit code 0" in " ".join(done.stdout.split())


IGNORING = """
import signal, sys
for name in ("SIGHUP", "SIGINT"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
from sharpeye.cli.app import run
sys.exit(run([COMMAND, sys.argv[1], "--port", "0"]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no nohup")
@pytest.mark.parametrize("command", ["serve", pytest.param("studio", marks=pytest.mark.slow)])
def test_ignored_signals_stay_ignored(
    trained: Path, cache: Path, tmp_path: Path, command: str
) -> None:
    """`nohup sharpeye serve run &` goes on after the terminal's SIGHUP and the shell's SIGINT."""
    program = IGNORING.replace("COMMAND", repr(command))
    model = trained if command == "serve" else tmp_path / "pictures"
    with serving(model, program=program, cache=cache) as running:
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGHUP):
            running.process.send_signal(number)
            time.sleep(0.3)
            assert httpx.get(running.url, timeout=30).status_code == 200
        code, stderr = stop(running)
        assert code == 0
        assert "Traceback" not in stderr
