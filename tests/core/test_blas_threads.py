"""The limit on the threads of matrix products: where it holds, and what it leaves alone."""

from collections.abc import Iterator

import numpy as np
import pytest

from sharpeye.core import blas_threads
from sharpeye.core.blas_threads import limit_blas_threads

threadpoolctl = pytest.importorskip("threadpoolctl")


def thread_counts() -> set[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    libraries = threadpoolctl.threadpool_info()
    return {info["num_threads"] for info in libraries if info["user_api"] == "blas"}


@pytest.fixture
def three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(blas_threads, "available_cores", lambda: 3)
    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        if thread_counts() != {3}:
            pytest.skip("this BLAS library has one thread")
        yield


@pytest.mark.usefixtures("three_threads")
def test_small_products_have_one_thread_and_large_ones_all() -> None:
    with limit_blas_threads():
        assert thread_counts() == {1}
    with limit_blas_threads(10**6):
        assert thread_counts() == {1}
    assert thread_counts() == {3}
    with limit_blas_threads(10**11):
        assert thread_counts() == {3}


@pytest.mark.usefixtures("three_threads")
def test_a_limit_is_never_raised_and_an_error_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with limit_blas_threads(), limit_blas_threads(10**11):
        assert thread_counts() == {1}
    monkeypatch.setattr(blas_threads, "available_cores", lambda: 2)
    with limit_blas_threads(10**11):
        assert thread_counts() == {2}
    with pytest.raises(ZeroDivisionError), limit_blas_threads():
        raise ZeroDivisionError
    assert thread_counts() == {3}
