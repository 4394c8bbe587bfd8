"""Facts in words, and claims found in words: a head, the relation's phrase, a tail, within a sentence."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from penchant.knowledge.link import Linker, words
from penchant.text.segment import segment_ends

__all__ = ["Claims", "names_of", "phrase", "verbalise"]

Triple = tuple[str, str, str]
_FAR = 60  # characters between a phrase and the entity that it belongs to


def phrase(relation: str, labels: Mapping[str, str] | None = None) -> str:
    """A relation in words: its label, else its name's last part without signs."""
    if labels and relation in labels:
        return labels[relation]
    last = re.split(r"[/#:]", relation.rstrip("/"))[-1]
    return " ".join(re.sub(r"[_\W]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", last)).split()).lower()


def verbalise(facts: Iterable[Triple], names: Mapping[str, str], labels: Mapping[str, str] | None = None) -> list[str]:
    """A sentence a fact: "The capital of France is Paris." by its relation's phrase."""
    return [f"The {phrase(r, labels)} of {names.get(h, h)} is {names.get(t, t)}." for h, r, t in facts]


class Claims:
    """Finds claims in texts.

    Args:
        linker: finds entities.
        relations: those that there are.
        labels: relation -> its phrase.
    """

    def __init__(self, linker: Linker, relations: Iterable[str], labels: Mapping[str, str] | None = None):
        self.linker = linker
        found: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
        for relation in relations:
            key = tuple(word.casefold() for word, _, _ in words(phrase(relation, labels)))
            if key:
                found[key].append(relation)
        self._phrases = Linker([(r, " ".join(key)) for key, own in found.items() for r in own])

    def __call__(self, text: str, language: str = "en") -> list[Triple]:
        """(head, relation, tail) of every "the R of H is T" and "H ... R ... T" in a sentence.

        An ambiguous name stands for each of its entities: the claims of all are given.
        """
        claims: list[Triple] = []
        start = 0
        for end in segment_ends(text, "sentence", language):
            claims += self._of_sentence(text[start:end])
            start = end
        return list(dict.fromkeys(claims))

    def _of_sentence(self, sentence: str) -> list[Triple]:
        relations, found = self._phrases(sentence), []
        taken = [(m.start, m.end) for m in relations]
        mentions = [m for m in self.linker(sentence) if not any(a <= m.start and m.end <= b for a, b in taken)]
        for at in relations:
            before = [m for m in mentions if m.end <= at.start and at.start - m.end <= _FAR]
            after = [m for m in mentions if m.start >= at.end and m.start - at.end <= _FAR]
            turned = sentence[at.end :].lstrip().lower().startswith("of ")
            if turned and len(after) >= 2:  # the capital of France is Paris
                pair = (after[0], after[1])
            elif turned and before and after:  # Paris is the capital of France
                pair = (after[0], before[-1])
            elif before and after:
                pair = (before[-1], after[0])
            else:
                continue
            found += [(h, r, t) for r in at.entities for h in pair[0].entities for t in pair[1].entities]
        return found


def names_of(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Each entity's first name."""
    found: dict[str, str] = {}
    for entity, name in pairs:
        found.setdefault(entity, name)
    return found
