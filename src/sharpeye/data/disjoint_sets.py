"""Union-find: groups of things that hang together by pairs."""

from typing import Any, Generic, TypeVar

Member = TypeVar("Member", bound=Any)


class DisjointSets(Generic[Member]):
    """Sets of members that can be ordered; the smallest member represents its set."""

    def __init__(self) -> None:
        self._parents: dict[Member, Member] = {}

    def find(self, member: Member) -> Member:
        """The representative of the set that a member is in; a new member is alone in its set."""
        parents = self._parents
        while parents.setdefault(member, member) != member:
            parents[member] = member = parents[parents[member]]
        return member

    def join(self, *members: Member) -> None:
        """Put the sets of these members together."""
        representatives = {self.find(member) for member in members}
        if representatives:
            smallest = min(representatives)
            self._parents.update(dict.fromkeys(representatives, smallest))
