"""The folders of a data set that hold images, by path."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from sharpeye.data.file_walk import natural_key


class FolderTree:
    """The folders that hold images, by path: "" is the root."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.folders: dict[str, list[str]] = defaultdict(
            list
        )  # the names of a folder's sub-folders
        self.direct: Counter[str] = Counter()  # images directly in a folder
        visited = set[str]()
        for path in paths:
            folder = path.rpartition("/")[0]
            self.direct[folder] += 1
            while folder and folder not in visited:
                visited.add(folder)
                parent, _, name = folder.rpartition("/")
                self.folders[parent].append(name)
                folder = parent

    def below(self, folder: str) -> list[str]:
        """The names of the sub-folders that hold images, in natural order."""
        return sorted(self.folders.get(folder, ()), key=natural_key)

    def innermost(self, folder: str) -> str:
        """`pred/pred` of `pred`, if nothing else is in it."""
        while len(names := self.below(folder)) == 1 and not self.direct[folder]:
            folder = f"{folder}/{names[0]}"
        return folder
