"""The names of files and folders that systems write among a person's images.

Every reader of folders and archives leaves them out: a bin of deleted images must not become a
class. A name that begins with a point (`.DS_Store`, `._1.jpg`, `.Trash-1000`, `.@__thumb`,
`.ipynb_checkpoints`, `.fseventsd`, `.Spotlight-V100`, `.AppleDouble`) needs no entry.
"""

import re

_WINDOWS = {
    "$recycle.bin",
    "system volume information",
    "msocache",
    "thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    "folder.htt",
    "picasa.ini",
}
_MACOS = {"__macosx", "icon\r", "network trash folder", "temporary items"}
_UNIX = {"lost+found", "lost.dir"}  # the second one is Android's
_NETWORK_STORAGE = {"@eadir", "#recycle", "@recycle", "#snapshot", "@tmp"}  # Synology's, QNAP's
_PROGRAMS = {"__pycache__", "node_modules"}
_NAMES = frozenset(_WINDOWS | _MACOS | _UNIX | _NETWORK_STORAGE | _PROGRAMS)

# Fragments that Windows' disk check saves: `found.000`.
_PATTERN = re.compile(r"found\.\d{3}")


def is_system_name(name: str) -> bool:
    """Whether systems, not people, write files or folders of this name, in any case."""
    folded = name.casefold()
    return name.startswith(".") or folded in _NAMES or bool(_PATTERN.fullmatch(folded))
