"""The views of a sample that a backbone sees: how each is drawn, and the key of its vector.

View 0 is the image itself; the others are augmented versions of it. By default `draw_view` draws
them; a view policy draws them in another way.
"""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from sharpeye.core.types import Sample
from sharpeye.images.views import VIEWS_VERSION, Distortion, View, draw_box_view, draw_view


@dataclass(frozen=True)
class ObjectViews:
    """The policy of views that show the whole object of a sample; see `draw_box_view`."""


ViewPolicy = Distortion | ObjectViews


def draw_sample_view(view: int, sample: Sample, policy: ViewPolicy | None = None) -> View:
    """A view of a sample by its index."""
    if isinstance(policy, ObjectViews):
        return draw_box_view(view, sample.sha256, sample.box or (0.0, 0.0, 1.0, 1.0))
    if policy is not None:
        return policy.draw(view, sample.sha256)
    return draw_view(view, sample.sha256)


def vector_key(view: int, sample: Sample, policy: ViewPolicy | None = None) -> str:
    """The key under which the vector of a view is stored.

    It is the image's digest; where the view depends on the sample's box, a digest of both.
    """
    if isinstance(policy, ObjectViews) and view > 1:
        return hashlib.sha256(f"{sample.sha256}:{sample.box}".encode()).hexdigest()
    return sample.sha256


def view_settings(view: int, policy: ViewPolicy | None = None) -> dict[str, Any]:
    """What a view depends on besides the sample: a part of the key of a store.

    View 0 has the same settings under each policy, as it is always the image itself.
    """
    settings: dict[str, Any] = {"view": view}
    if isinstance(policy, ObjectViews) and view > 1:
        return settings | {"views": VIEWS_VERSION, "boxes": True}
    if isinstance(policy, Distortion) and view > 0:
        return settings | {"views": VIEWS_VERSION, "distortion": asdict(policy)}
    return settings | {"views": VIEWS_VERSION} if view > 1 else settings
