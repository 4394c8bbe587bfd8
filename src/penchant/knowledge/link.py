"""Entities in texts by their names: the longest name wins, on the boundaries of words."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Linker", "Mention", "words"]

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_]+", re.UNICODE)


@dataclass(frozen=True, slots=True)
class Mention:
    """A name in a text: characters from start to end, and the entities that it may be (several: it is ambiguous)."""

    start: int
    end: int
    entities: tuple[str, ...]


def words(text: str) -> list[tuple[str, int, int]]:
    """(word, start, end); each Chinese or Japanese character is one. Words keep their letter case."""
    return [(unicodedata.normalize("NFC", m.group()), m.start(), m.end()) for m in _WORD.finditer(text)]


class Linker:
    """Finds names in texts.

    Args:
        names: (entity, name) pairs; an entity may have several, and a name several entities.
        fold: letter case aside, but for names of one word that is short or all capitals.
    """

    def __init__(self, names: Iterable[tuple[str, str]], fold: bool = True):
        self.fold = fold
        self._known: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
        self._longest: dict[str, int] = {}  # by the first word: words of the longest name that begins with it
        for entity, name in names:
            key = self._key([word for word, _, _ in words(name)])
            if key and entity not in self._known[key]:
                self._known[key].append(entity)
                self._longest[key[0]] = max(self._longest.get(key[0], 0), len(key))

    def _key(self, given: list[str]) -> tuple[str, ...]:
        if not self.fold or (len(given) == 1 and (len(given[0]) <= 3 or given[0].isupper())):
            return tuple(given)
        return tuple(word.casefold() for word in given)

    def __call__(self, text: str) -> list[Mention]:
        """Mentions in order, none within another."""
        found, at = [], 0
        given = words(text)
        while at < len(given):
            size, entities = self._at(given, at)
            if entities:
                found.append(Mention(given[at][1], given[at + size - 1][2], tuple(entities)))
            at += max(1, size)
        return found

    def _at(self, given: list[tuple[str, int, int]], at: int) -> tuple[int, list[str]]:
        first = given[at][0]
        most = max(self._longest.get(first, 0), self._longest.get(first.casefold(), 0))
        for size in range(min(most, len(given) - at), 0, -1):
            plain = [word for word, _, _ in given[at : at + size]]
            key = self._key(plain)
            if entities := self._known.get(key):
                return size, entities
        return 0, []
