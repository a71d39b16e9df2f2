"""`sharpeye serve`: one image's latency, and the throughput of 16 clients.

One image is asked for over a connection that stays open, and compared with decoding the same
JPEG in this process and running the bare graph on it with all cores inside. The clients' rate is
compared with a bare loop over images that are decoded already, with all cores inside the graph,
at the fastest of batches of 1, 8 and 32. Server and clients share the machine's cores.
"""

import http.client
import itertools
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from bench import arguments
from bench.images import write_photos
from bench.measure import report, spread, time_process
from bench.serving import Server, serving
from sharpeye.artefact.session import open_model
from sharpeye.core.inference import Graph, available_cores
from sharpeye.core.types import InputSpec
from sharpeye.images.decode import decode
from sharpeye.images.resize import fit_image

IMAGES, ROUNDS = 64, 5
ASKED_ALONE = 60  # a round
CLIENTS, ASKED_TOGETHER = 16, 400  # a round


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        photos, run = Path(place) / "photos", Path(place) / "run"
        write_photos(photos, IMAGES, width=520)
        time_process(["train", str(photos), "--output", str(run), "-q"], Path(place) / "cache")
        files = [file.read_bytes() for file in sorted(photos.rglob("*.jpg"))]
        opened = open_model(run, threads=available_cores())
        spec, graph = opened.manifest.input, opened.graph
        with serving(run, Path(place) / "cache") as server:
            latency(server, graph, spec, files)
            throughput(server, graph, spec, files)


def latency(server: Server, graph: Graph, spec: InputSpec, files: list[bytes]) -> None:
    """Median milliseconds of one image, served and bare, round by round."""
    connection = server.connect()
    ours, bare, decoding = [], [], []
    for number in range(ROUNDS + 1):
        few = [files[i % len(files)] for i in range(ASKED_ALONE)]
        served = [timed(lambda data=data: ask(connection, data)) for data in few]
        parts = [bare_times(graph, spec, data) for data in few]
        if not number:  # the first round warms up
            continue
        ours.append(1000 * statistics.median(served))
        bare.append(1000 * statistics.median(sum(part) for part in parts))
        decoding.append(1000 * statistics.median(part[0] for part in parts))
    connection.close()
    report(
        "serve_latency",
        {
            "requests_a_round": ASKED_ALONE,
            "milliseconds": spread(ours),
            "bare_milliseconds": spread(bare),
            "of_which_decoding": spread(decoding),
            "ratio": spread([a / b for a, b in zip(ours, bare, strict=True)]),
            "goal": "<= 1.3",
        },
    )


def throughput(server: Server, graph: Graph, spec: InputSpec, files: list[bytes]) -> None:
    """Images a second of many clients, each round between two of the bare loop."""
    arrays = np.stack([fit_image(decode(data, "it"), spec) for data in files])
    clients_rate(server, files)
    ours, bare, batches = [], [bare_rate(graph, arrays)], []
    for _ in range(ROUNDS):
        ours.append(clients_rate(server, files))
        bare.append(bare_rate(graph, arrays))
        batches.append(bare[-1][1])
    rates = [rate for rate, _ in bare]
    around = [(a + b) / 2 for a, b in itertools.pairwise(rates)]
    report(
        "serve_throughput",
        {
            "clients": CLIENTS,
            "requests_a_round": ASKED_TOGETHER,
            "images_per_second": spread(ours),
            "bare_images_per_second": spread(rates),
            "bare_batches": batches,
            "ratio": spread([a / b for a, b in zip(ours, around, strict=True)]),
            "goal": ">= 0.8",
        },
    )


def ask(connection: http.client.HTTPConnection, data: bytes) -> None:
    """One image, asked and answered."""
    connection.request("POST", "/v1/predict", data, {"Content-Type": "image/jpeg"})
    response = connection.getresponse()
    message = response.read()
    if response.status != 200:
        raise SystemExit(f"{response.status}: {message[:200]!r}")


def timed(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def bare_times(graph: Graph, spec: InputSpec, data: bytes) -> tuple[float, float]:
    """Seconds of decoding one image, and of one run of the graph."""
    started = time.perf_counter()
    pixels = fit_image(decode(data, "it"), spec)
    decoded = time.perf_counter()
    graph.run(pixels[None])
    return decoded - started, time.perf_counter() - decoded


def clients_rate(server: Server, files: list[bytes]) -> float:
    """Images a second of clients that each ask again as soon as they are answered."""

    def client(number: int) -> None:
        connection = server.connect()
        for i in range(number, ASKED_TOGETHER, CLIENTS):
            ask(connection, files[i % len(files)])
        connection.close()

    with ThreadPoolExecutor(CLIENTS) as pool:
        return ASKED_TOGETHER / timed(lambda: list(pool.map(client, range(CLIENTS))))


def bare_rate(graph: Graph, arrays: "np.ndarray") -> tuple[float, int]:
    """Images a second of a bare loop at its best batch size, and that size."""
    rates = {}
    for batch in (1, 8, 32):
        graph.run(arrays[:batch])
        seconds = timed(
            lambda batch=batch: [
                graph.run(arrays[i : i + batch]) for i in range(0, len(arrays), batch)
            ]
        )
        rates[batch] = len(arrays) / seconds
    best = max(rates, key=rates.__getitem__)
    return rates[best], best


if __name__ == "__main__":
    arguments.run(main, __doc__)
