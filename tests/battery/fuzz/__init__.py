"""Fuzz targets: each is a module with one function that gets any bytes.

    python -m battery.fuzz images --seconds 60 --seed 0 --corpus DIR      # with atheris

A target has

    seeds() -> list[bytes]             small valid inputs, made by code
    TOKENS: tuple[bytes, ...]          words of the format, for the fuzzer's dictionary
    one_input(data: bytes) -> None     hands `data` to SharpEye; only its declared errors are caught

so that everything else that `one_input` raises is a finding. `corpus/TARGET/` holds the inputs of
earlier findings. `CheckedTarget` adds limits on time and memory; without atheris, `replay` runs
the corpus, the seeds and mutations of them.
"""
