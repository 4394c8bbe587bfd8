"""Claims against a graph: supported, contradicted, or unknown; what is merely absent is unknown, not false.

A claim is contradicted by what the graph says of its relation: where it has one tail a head (`functional`) and the
head has another one, or where the tail (or head) is of no kind that the relation is ever used with (`types`). Both are
learned from the graph: a relation is functional where almost no head has two tails.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["CONTRADICTED", "SUPPORTED", "UNKNOWN", "Checker", "Verdict"]

SUPPORTED, CONTRADICTED, UNKNOWN = "supported", "contradicted", "unknown"
Triple = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a graph says of a claim, and why: stated, functional, inverse functional, tail type, head type, or nothing.

    `score` orders claims by how plausible they are: 1 stated, 0 contradicted, between them the share of the relation's
    uses that the tail's and head's kinds have.
    """

    what: str
    why: str
    score: float


@dataclass
class Checker:
    """Constraints of a graph.

    Args:
        triples: its facts.
        types: entity -> its kinds; without, kinds are the relations that an entity has, and on which side.
        least: heads that a relation must have before anything is concluded from it.
        functional: share of heads with one tail from which a relation counts as functional.
    """

    triples: Iterable[Triple]
    types: Mapping[str, Sequence[str]] | None = None
    least: int = 20
    functional: float = 0.98
    _tails: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set), init=False)
    _heads: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set), init=False)

    def __post_init__(self) -> None:
        self._kinds: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
        self._count: Counter[str] = Counter()
        roles: dict[str, set[str]] = defaultdict(set)
        facts = list(dict.fromkeys(self.triples))
        for head, relation, tail in facts:
            self._tails[relation, head].add(tail)
            self._heads[relation, tail].add(head)
            self._count[relation] += 1
            roles[head].add(f"{relation} of")
            roles[tail].add(f"{relation}'s")
        self._roles = roles
        for head, relation, tail in facts:
            for side, entity in enumerate((head, tail)):
                self._kinds[relation, side].update(self.kinds(entity))
        self._one = {
            side: {relation for relation in self._count if self._share_of_ones(relation, side) >= self.functional}
            for side in (0, 1)
        }

    def kinds(self, entity: str) -> Sequence[str]:
        """An entity's kinds."""
        return self.types.get(entity, ()) if self.types is not None else sorted(self._roles.get(entity, ()))

    def _share_of_ones(self, relation: str, side: int) -> float:
        """The share of heads (tails: side 1) that have one tail (head)."""
        sizes = [len(found) for (name, _), found in (self._heads if side else self._tails).items() if name == relation]
        return sum(size == 1 for size in sizes) / len(sizes) if len(sizes) >= self.least else 0.0

    @property
    def functional_relations(self) -> list[str]:
        """Relations with one tail a head."""
        return sorted(self._one[0])

    def __call__(self, head: str, relation: str, tail: str) -> Verdict:
        """The verdict on a claim."""
        known = self._tails.get((relation, head), set())
        if tail in known:
            return Verdict(SUPPORTED, "stated", 1.0)
        fits = [self._fit(relation, side, entity) for side, entity in enumerate((head, tail))]
        if known and relation in self._one[0]:
            return Verdict(CONTRADICTED, "functional", 0.0)
        if relation in self._one[1] and self._heads.get((relation, tail), {head}) != {head}:
            return Verdict(CONTRADICTED, "inverse functional", 0.0)
        for side, why in ((1, "tail type"), (0, "head type")):
            if fits[side] == 0.0:
                return Verdict(CONTRADICTED, why, 0.0)
        sure = [fit for fit in fits if fit is not None]
        return Verdict(UNKNOWN, "", 0.5 if not sure else 0.01 + 0.98 * min(sure))

    def _fit(self, relation: str, side: int, entity: str) -> float | None:
        """The largest share of the relation's uses that one of the entity's kinds has; None: nothing is known."""
        if self._count[relation] < self.least:
            return None
        own, used = self.kinds(entity), self._kinds[relation, side]
        if not own or not used:
            return None
        return max(used[kind] for kind in own) / self._count[relation]
