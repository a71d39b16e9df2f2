"""Records of event files: TensorBoard's own reader accepts them, and its checksum is the same."""

import io

import numpy as np
import pytest
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import crc32c as expected_crc32c

from sharpeye.runs.event_records import crc32c, write_record


def test_the_checksum_is_that_of_the_standard() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


@pytest.mark.parametrize("size", [0, 1, 3, 4, 31, 32, 33, 1023, 1024, 1025, 1056, 2048, 5001])
def test_any_size_has_the_checksum_of_tensorboard(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    assert crc32c(data) == expected_crc32c(data) & 0xFFFFFFFF


def test_a_record_is_that_of_tensorboard() -> None:
    from tensorboard.summary.writer.record_writer import RecordWriter

    ours, expected = io.BytesIO(), io.BytesIO()
    for data in (b"", b"one", bytes(3000)):
        write_record(ours, data)
        RecordWriter(expected).write(data)
    assert ours.getvalue() == expected.getvalue()
