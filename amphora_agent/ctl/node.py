"""An answer of the agent, read tolerantly: what is absent or of another type counts as nothing. Never raises.

Decision: no types of the answers here. amphoractl may be older or newer than the agent it asks, and what it shows of
an answer must not end with a field that came or went; decoding into types would also cost the commands that only read
a third of their time.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Node:
    """One JSON value."""

    value: object

    def node(self, key: str) -> Node:
        """Return a member of an object."""
        return Node(self.value.get(key) if isinstance(self.value, dict) else None)

    def nodes(self, key: str) -> tuple[Node, ...]:
        """Return the entries of a list in an object."""
        return self.node(key).entries()

    def entries(self) -> tuple[Node, ...]:
        """Return the entries of a list."""
        return tuple(Node(each) for each in self.value) if isinstance(self.value, list) else ()

    def names(self) -> tuple[str, ...]:
        """Return the keys of an object, in order."""
        return tuple(str(key) for key in self.value) if isinstance(self.value, dict) else ()

    def text(self, key: str) -> str:
        """Return a text, empty when it is none."""
        found = self.node(key).value
        return found if isinstance(found, str) else ""

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts."""
        return tuple(each.value for each in self.nodes(key) if isinstance(each.value, str))

    def number(self, key: str) -> float | None:
        """Return a number."""
        found = self.node(key).value
        return found if isinstance(found, (int, float)) and not isinstance(found, bool) else None

    def integer(self, key: str) -> int | None:
        """Return a whole number."""
        found = self.number(key)
        return found if isinstance(found, int) else None

    def is_true(self, key: str) -> bool:
        """Tell whether a member is `true`."""
        return self.node(key).value is True

    def __bool__(self) -> bool:
        return self.value is not None
