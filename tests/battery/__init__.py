"""The reliability battery; see `conftest.py`."""

from pathlib import Path

import pytest

# Assertions in the modules beside the tests explain themselves, too.
pytest.register_assert_rewrite(
    *(f"battery.{file.stem}" for file in Path(__file__).parent.glob("[a-z]*.py"))
)
