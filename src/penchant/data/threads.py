"""Conversations: from what each row replies to, to the thread that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["roots"]


def roots(parents: Mapping[str, str | None], ids: Sequence[str]) -> list[str]:
    """The root of each row's thread.

    Args:
        parents: id -> the id that it replies to, None (or empty) where it replies to none.
        ids: the rows asked for.

    Returns:
        The id that a chain of replies ends at. A parent that is not there is a root itself, so that those who
        replied to a deleted post stay together; of a ring, the smallest id is the root.
    """
    known: dict[str, str] = {}
    return [_root(parents, one, known) for one in ids]


def _root(parents: Mapping[str, str | None], start: str, known: dict[str, str]) -> str:
    path: dict[str, None] = {}
    at = start
    while at not in known and at not in path:
        path[at] = None
        above = parents.get(at)
        if not above:
            known[at] = at
            break
        at = above
    if at not in known:
        chain = list(path)
        root = min(chain[chain.index(at) :])
    else:
        root = known[at]
    known.update(dict.fromkeys(path, root))
    return root
