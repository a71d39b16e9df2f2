"""Wrong labels are found although all versions of an image share them."""

from pathlib import Path

import numpy as np
import pytest

from sharpeye.core.config import Config
from sharpeye.core.types import Sample, SampleSet
from sharpeye.jobs.audit.check_labels import label_error_issues

NAMES = ("rose", "tulip")


def labelled(shots: int, pattern: str) -> tuple[SampleSet, dict[str, np.ndarray]]:
    """Two classes of 15 objects in several shots; the first rose is in the folder of the tulips."""
    random = np.random.default_rng(0)
    centres = random.normal(0, 1.1, (2, 40))
    samples, features = [], {}
    for c in range(2):
        for number in range(15):
            of_object = centres[c] + random.normal(0, 1, 40)
            label = "tulip" if (c, number) == (0, 0) else NAMES[c]
            for shot in range(shots):
                path = f"{label}/{pattern.format(name=f'{NAMES[c]}{number}', shot=shot)}"
                samples.append(Sample(path, Path(path), label, sha256=path.ljust(64, "0")))
                vector = np.exp(0.5 * (of_object + random.normal(0, 0.1, 40)))
                features[samples[-1].sha256] = vector.astype(np.float32)
    return SampleSet(Path(), tuple(samples), NAMES), features


@pytest.mark.parametrize("known", ["names", "near_duplicates"])
def test_versions_of_an_image_do_not_support_their_common_label(known: str) -> None:
    pattern = "{name}_nohash_{shot}.jpg" if known == "names" else "{name}-{shot}.jpg"
    samples, features = labelled(4, pattern)
    versions = [s.sha256 for s in samples if s.path.startswith("tulip/rose0")]
    near = [versions] if known == "near_duplicates" else []
    issues = label_error_issues(samples, features, Config(), near_duplicates=near)
    reported = {issue.path for issue in issues if issue.related == "rose"}
    assert {path for path in reported if "rose0" in path} == {
        s.path for s in samples if s.sha256 in versions
    }


def test_without_groups_they_would_support_it() -> None:
    samples, features = labelled(4, "{name}-{shot}.jpg")
    issues = label_error_issues(samples, features, Config())
    assert not [issue for issue in issues if "tulip/rose0-" in issue.path]
