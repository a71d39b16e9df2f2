"""What the owner of the images should know about them before trusting a score."""

from sharpeye.core.config import Config
from sharpeye.core.types import Sample, SampleSet
from sharpeye.data.digest import label_conflicts, leaks
from sharpeye.data.name_typos import find_name_typos


def data_notes(samples: SampleSet, config: Config) -> tuple[str, ...]:
    """What the owner of the images should know about them, a sentence each, gravest first."""
    counts = samples.count_by_class()
    few, many = min(counts.values()), max(counts.values())
    notes = [*_leaks(samples, config), *_conflicts(samples), *_names(samples)]
    notes += _kept_together(samples)
    if samples.rejected:
        notes.append(
            f"{len(samples.rejected)} files were left out, such as {samples.rejected[0].path}: "
            f"{samples.rejected[0].reason}."
        )
    if many > 1.5 * few:
        rarest = min(counts, key=lambda label: counts[label])
        answer = (
            "each class counts the same in training"
            if config.data.balance != "none"
            else "rare classes count less in training (data.balance = none)"
        )
        notes.append(f"The classes have {few} to {many} pictures ({rarest} fewest): {answer}.")
    tests = sum(1 for s in samples if s.split == "test")
    if tests < 100:
        notes.append(f"With {tests} test pictures the accuracy is known only roughly.")
    return tuple(notes)


def _leaks(samples: SampleSet, config: Config) -> list[str]:
    """Images in more than one part, where the parts were given or another rule made them."""
    notes = []
    if samples.given_splits or config.split.rule == "path":
        leaked = leaks(samples.samples)
        if leaked:
            example = ", ".join(s.path for s in leaked[0])
            notes.append(
                f"{len(leaked)} pictures are in more than one part, so the scores "
                f"are too good: {example}."
            )
    astride = [own for own in _near(samples) if len({s.split for s in own}) > 1]
    if astride:
        example = ", ".join(
            next(s.path for s in astride[0] if s.split == p) for p in _parts(astride)
        )
        notes.append(
            f"{_groups(len(astride))} of nearly the same pictures in more than one part, so the "
            f"scores are too good: {example}; `sharpeye check` lists them."
        )
    return notes


def _parts(astride: list[list[Sample]]) -> list[str | None]:
    return list(dict.fromkeys(sample.split for sample in astride[0]))


def _conflicts(samples: SampleSet) -> list[str]:
    """The same image, exactly or nearly, in more than one class."""
    found = [list(copies) for copies in label_conflicts(samples.samples)]
    near = [own for own in _near(samples) if len({s.label for s in own}) > 1]
    found += near
    if not found:
        return []
    same = "Nearly the same" if len(near) == len(found) else "The same"
    example = ", ".join({s.label: s.path for s in found[0]}.values())
    if len(found) == 1:
        return [f"{same} picture is in more than one class: {example}."]
    return [
        f"{same} picture is in more than one class, {len(found)} times: {example}, ...; "
        "`sharpeye check` lists them."
    ]


def _names(samples: SampleSet) -> list[str]:
    found = [slip for slip in find_name_typos(samples.class_names) if slip.serious]
    if not found:
        return []
    first, more = found[0], f", and {len(found) - 1} more" if len(found) > 1 else ""
    return [f"The classes {first.other!r} and {first.label!r} are probably one{more}: {first.why}."]


def _kept_together(samples: SampleSet) -> list[str]:
    near = [own for own in _near(samples) if len({s.split for s in own}) == 1]
    if not near or samples.given_splits:
        return []
    count = sum(map(len, near))
    return [
        f"{count} pictures have a copy that is nearly the same, such as {near[0][0].path} and "
        f"{near[0][1].path}; copies are kept in one part."
    ]


def _near(samples: SampleSet) -> list[list[Sample]]:
    by_digest: dict[str, Sample] = {}
    for sample in samples:
        by_digest.setdefault(sample.sha256, sample)
    found = [[by_digest[d] for d in own if d in by_digest] for own in samples.near_duplicates]
    return [own for own in found if len(own) > 1]


def _groups(count: int) -> str:
    return "There is a group" if count == 1 else f"There are {count} groups"
