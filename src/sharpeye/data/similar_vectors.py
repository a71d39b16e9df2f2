"""Find pairs of vectors with a high cosine by locality-sensitive hashing.

Each unit vector is hashed to words of some bits, by the signs of random projections (Charikar
2002), and only vectors with a word in common are compared. Two at cosine r share one of w words
of b bits with probability 1 - (1 - (1 - acos(r) / pi) ** b) ** w: of 12 words of 16 bits 99.9 % at
0.99 and 98 % at 0.97, of 32 words of 12 bits 99.6 % at 0.9 and 88 % at 0.8.

FAISS, hnswlib and Annoy search the nearest vectors of every image, and each is as large as this
whole package. This needs one sort per word: 0.3 s for 100,000 images.
"""

import numpy as np

from sharpeye.core.arrays import Floats, Ints
from sharpeye.core.blas_threads import limit_blas_threads

# Each vector is compared with at most so many others that share a word: a thousand nearly white
# images must not become a million pairs.
_MAX_NEIGHBOURS = 32
_VECTOR_CHUNK, _PAIR_CHUNK = 4096, 65536


@limit_blas_threads()
def lsh_pairs(
    vectors: Floats, min_cosines: Floats, words: int = 12, *, bits: int = 16
) -> tuple[Ints, Ints]:
    """Pairs of vectors with a high cosine: int64[K] and int64[K], first < second, in order.

    Args:
        vectors: float[N,D], of length 1 or 0.
        min_cosines: float32[N]; the lower one of a pair counts.
        words, bits: of the hash; `bits` is 1..16.
    """
    count = len(vectors)
    hashes = _hash(vectors, words, bits)
    pairs: Ints = np.empty(0, np.int64)  # first * count + second
    for word in range(words):
        order = np.lexsort((vectors[:, word % vectors.shape[1]], hashes[:, word]))
        keys = hashes[order, word]
        chunks = [pairs]
        for step in range(1, _MAX_NEIGHBOURS + 1):
            same_word = np.flatnonzero(keys[step:] == keys[:-step])
            if not len(same_word):
                break
            for start in range(0, len(same_word), _PAIR_CHUNK):
                left = same_word[start : start + _PAIR_CHUNK]
                a, b = order[left], order[left + step]
                similar = cosines(vectors, a, b) >= np.minimum(min_cosines[a], min_cosines[b])
                a, b = a[similar], b[similar]
                chunks.append(np.minimum(a, b) * count + np.maximum(a, b))
        pairs = _distinct(np.concatenate(chunks))  # after each word: most pairs share several
    return pairs // max(1, count), pairs % max(1, count)


def _distinct(values: Ints) -> Ints:
    """The distinct values, ascending: `numpy.unique` hashes them, in thirty times as long."""
    ordered: Ints = np.sort(values)
    is_new = np.ones(len(ordered), bool)
    is_new[1:] = ordered[1:] != ordered[:-1]
    distinct: Ints = ordered[is_new]
    return distinct


def cosines(vectors: Floats, first: Ints, second: Ints) -> Floats:
    """float32[K] of pairs of unit vectors, given by their indices."""
    result = np.empty(len(first), np.float32)
    for start in range(0, len(first), _PAIR_CHUNK):
        chunk = slice(start, start + _PAIR_CHUNK)
        a, b = (vectors[i[chunk]].astype(np.float32, copy=False) for i in (first, second))
        result[chunk] = np.einsum("nd,nd->n", a, b)
    return result


def _hash(vectors: Floats, words: int, bits: int) -> Ints:
    """uint16[N,words]: signs of random projections."""
    random = np.random.default_rng(0x5EA2)
    axes = random.standard_normal((vectors.shape[1], words * bits)).astype(np.float32)
    bit_values = (1 << np.arange(bits)).astype(np.uint16)
    hashes = np.empty((len(vectors), words), np.uint16)
    for start in range(0, len(vectors), _VECTOR_CHUNK):
        chunk = vectors[start : start + _VECTOR_CHUNK].astype(np.float32, copy=False)
        signs = (chunk @ axes > 0).reshape(len(chunk), words, bits)
        hashes[start : start + _VECTOR_CHUNK] = signs @ bit_values
    return hashes
