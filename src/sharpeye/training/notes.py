"""What the owner of the pictures should know about them before trusting a score."""

from sharpeye.config import Config
from sharpeye.data.digest import label_conflicts, leaks
from sharpeye.types import SampleSet


def data_notes(samples: SampleSet, config: Config) -> tuple[str, ...]:
    """What the owner of the pictures should know about them, in a sentence each."""
    notes = []
    counts = samples.count_by_label()
    few, many = min(counts.values()), max(counts.values())
    if many > 1.5 * few:
        rarest = min(counts, key=lambda label: counts[label])
        answer = (
            "each class counts the same in training"
            if config.data.balance != "none"
            else "rare classes count less in training (data.balance = none)"
        )
        notes.append(f"The classes have {few} to {many} pictures ({rarest} fewest): {answer}.")
    for copies in label_conflicts(samples.samples)[:5]:
        notes.append(
            "The same picture is in more than one class: " + ", ".join(s.path for s in copies) + "."
        )
    if samples.given_parts or config.split.rule == "path":
        leaked = leaks(samples.samples)
        if leaked:
            example = ", ".join(s.path for s in leaked[0])
            notes.append(
                f"{len(leaked)} pictures are in more than one part, so the scores "
                f"are too good: {example}."
            )
    if samples.rejected:
        notes.append(
            f"{len(samples.rejected)} files were left out, such as {samples.rejected[0].path}: "
            f"{samples.rejected[0].reason}."
        )
    tests = sum(1 for s in samples if s.part == "test")
    if tests < 100:
        notes.append(f"With {tests} test pictures the accuracy is known only roughly.")
    return tuple(notes)
