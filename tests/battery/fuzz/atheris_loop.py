"""The process in which a target runs: `atheris_loop.py TARGET FINDINGS CORPUS [libFuzzer's flags]`.

All modules of SharpEye report their edges, also those that are imported inside functions: the seeds
run once while imports are instrumented.
"""

import base64
import contextlib
import hashlib
import sys
import traceback
from pathlib import Path

import atheris

from battery.fuzz.checked_target import CheckedTarget


def main(name: str, findings: Path, corpus: Path, flags: list[str]) -> None:
    with atheris.instrument_imports(include=["sharpeye"]):
        target = CheckedTarget(name)
        seeds = target.seeds()
        for data in seeds:
            with contextlib.suppress(Exception):  # the loop below reports it
                target(data)
    for data in seeds:
        (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)
    dictionary = corpus.with_name(f"{name}.dict")
    dictionary.write_text("".join(f'"{_escaped(token)}"\n' for token in target.tokens))
    places: set[str] = set()

    def one_input(data: bytes) -> None:
        try:
            target(data)
        except Exception as error:
            place = _place(error)
            if place in places:
                return
            places.add(place)
            (findings / f"{name}-{hashlib.sha1(data).hexdigest()[:12]}").write_bytes(data)
            print(f"FINDING at {place}", traceback.format_exc(), sep="\n", file=sys.stderr)
            print(f"the input: {base64.b64encode(data).decode()}", file=sys.stderr)

    atheris.Setup([sys.argv[0], str(corpus), f"-dict={dictionary}", *flags], one_input)
    atheris.Fuzz()


def _escaped(token: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in token)


def _place(error: Exception) -> str:
    """The kind of an error and the innermost lines of it."""
    frames = traceback.extract_tb(error.__traceback__)[-2:]
    return f"{type(error).__name__} {[(frame.filename, frame.lineno) for frame in frames]}"


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
