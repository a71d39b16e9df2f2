"""Limit the threads of matrix products in NumPy. No other module does.

OpenBLAS divides a product among as many threads as there are cores, which wait for one another in
loops. Where another process has one of the cores, each product waits until that core is free: on
two shared cores the eigenvalues of a 500 x 500 matrix took 2.8 s with two threads, and 0.036 s with
one. A head is fitted by thousands of small products, so they run in one thread; only products that
take much longer than such a wait are divided.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sharpeye.core.inference import available_cores

# It takes about 0.2 s in one thread. A fit has dozens of short operations beside each such product.
_MIN_DIVIDED = 10**10


@contextmanager
def limit_blas_threads(multiplications: int = 0) -> Iterator[None]:
    """Limit the threads of matrix products until the block ends; also a decorator.

    A limit is never above that of the surrounding block, or of `OPENBLAS_NUM_THREADS`. It holds for
    the libraries that are loaded when the block begins. Without threadpoolctl nothing changes: the
    results are the same, but take longer beside other processes.

    Args:
        multiplications: of one of the products in the block; 0 for those within a decomposition.
    """
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        yield
        return
    blas = ThreadpoolController().select(user_api="blas")
    limit = available_cores() if multiplications >= _MIN_DIVIDED else 1
    current = [library["num_threads"] for library in blas.info()]
    with blas.limit(limits=min([limit, *current])):
        yield
