"""An index for pairs of vectors that point nearly the same way, so that not all are compared.

Each unit vector is hashed to words of some bits, by the signs of random projections (Charikar
2002), and only vectors with a word in common are looked at. Two at cosine r share one of w words
of b bits with probability 1 - (1 - (1 - acos(r) / pi) ** b) ** w: of 12 words of 16 bits 99.9 % at
0.99 and 98 % at 0.97, of 32 words of 12 bits 99.6 % at 0.9 and 88 % at 0.8.

Why no library: FAISS, hnswlib and Annoy answer "which are nearest", for every image, and are
each as large as all of this package. This is one sort a word: 0.3 s for 100,000 images.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32] | npt.NDArray[np.float16]

# Of vectors that share a word each is compared with so many in an order of its own: a thousand
# nearly white images must not become a million pairs.
_WINDOW = 32
_CHUNK, _PAIRS = 4096, 65536


def lsh_pairs(
    vectors: Vectors, least: Floats, words: int = 12, bits: int = 16
) -> tuple[Ints, Ints]:
    """Pairs of vectors that point nearly the same way.

    Args:
        vectors: float[N,D], of length 1 or 0.
        least: float32[N], the least cosine; the lower one of a pair's counts.
        words, bits: of the index; `bits` is 1..16.

    Returns:
        int64[K] and int64[K], first < second, in order.
    """
    count = len(vectors)
    hashes = _hashes(vectors, words, bits)
    found = np.empty(0, np.int64)
    for word in range(words):
        order = np.lexsort((vectors[:, word % vectors.shape[1]], hashes[:, word]))
        keys = hashes[order, word]
        codes = [found]
        for step in range(1, _WINDOW + 1):
            same = np.flatnonzero(keys[step:] == keys[:-step])
            if not len(same):
                break
            for start in range(0, len(same), _PAIRS):
                place = same[start : start + _PAIRS]
                one, other = order[place], order[place + step]
                kept = cosines(vectors, one, other) >= np.minimum(least[one], least[other])
                one, other = one[kept], other[kept]
                codes.append(np.minimum(one, other) * count + np.maximum(one, other))
        found = np.unique(np.concatenate(codes))  # a word at a time: most pairs share several
    return found // max(1, count), found % max(1, count)


def cosines(vectors: Vectors, first: Ints, second: Ints) -> Floats:
    """float32[K] of pairs of unit vectors."""
    found = np.empty(len(first), np.float32)
    for start in range(0, len(first), _PAIRS):
        some = slice(start, start + _PAIRS)
        one, other = (
            vectors[rows[some]].astype(np.float32, copy=False) for rows in (first, second)
        )
        found[some] = np.einsum("nd,nd->n", one, other)
    return found


def _hashes(vectors: Vectors, words: int, bits: int) -> npt.NDArray[np.uint16]:
    """uint16[N,words]: signs of random projections."""
    random = np.random.default_rng(0x5EA2)
    axes = random.standard_normal((vectors.shape[1], words * bits)).astype(np.float32)
    places = (1 << np.arange(bits)).astype(np.uint16)
    packed = np.empty((len(vectors), words), np.uint16)
    for start in range(0, len(vectors), _CHUNK):
        some = vectors[start : start + _CHUNK].astype(np.float32, copy=False)
        signs = (some @ axes > 0).reshape(len(some), words, bits)
        packed[start : start + _CHUNK] = signs @ places
    return packed
