"""What tests of the decoder share."""

from typing import Any

import pytest
from PIL import ImageFile


@pytest.fixture
def decoded_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The formats of the images whose pixels Pillow was asked for, which takes time and memory."""
    formats: list[str] = []
    load = ImageFile.ImageFile.load

    def note(image: ImageFile.ImageFile) -> Any:
        formats.append(image.format or "")
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", note)
    return formats
