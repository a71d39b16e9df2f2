"""Pairs of vectors with a high cosine are found without comparing all pairs."""

import numpy as np
import pytest

from sharpeye.data.similar_vectors import cosines, lsh_pairs


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("noise", "words", "bits"), [(0.1, 12, 16), (0.4, 32, 12)])
def test_planted_pairs_are_found_and_no_others(noise: float, words: int, bits: int) -> None:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((600, 48))
    noisy = vectors[:200] + noise * random.standard_normal((200, 48))
    first, second = lsh_pairs(
        unit(np.concatenate([vectors, noisy])), np.full(800, 0.85, np.float32), words, bits=bits
    )
    pairs = set(zip(first.tolist(), second.tolist(), strict=True))
    planted = {(row, 600 + row) for row in range(200)}
    assert pairs <= planted
    assert len(pairs) >= 195


def test_cosines_of_half_precision_are_those_of_whole() -> None:
    vectors = unit(np.random.default_rng(1).standard_normal((50, 16)))
    first, second = np.arange(49), np.arange(1, 50)
    half = cosines(vectors.astype(np.float16), first, second)
    np.testing.assert_allclose(half, cosines(vectors, first, second), atol=2e-3)


def test_no_vectors_have_no_pairs() -> None:
    first, second = lsh_pairs(np.zeros((0, 8), np.float32), np.zeros(0, np.float32))
    assert len(first) == len(second) == 0
