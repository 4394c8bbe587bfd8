"""ComplEx: entities and relations as complex vectors that score a triple; for claims on which the graph says nothing.

Trouillon et al. 2016, "Complex embeddings for simple link prediction", eq. 9; trained with the full softmax over tails
and heads, and the N3 penalty (Lacroix et al. 2018, "Canonical tensor decomposition for knowledge base completion").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Embedding", "train"]

Triple = tuple[str, str, str]


class Embedding:
    """Vectors of a graph's names.

    Args:
        entities, relations: name -> row.
        e, r: float32 [names, 2 * rank]; real parts, then imaginary ones. Relations and, below them, their inverses.
    """

    def __init__(self, entities: dict[str, int], relations: dict[str, int], e: np.ndarray, r: np.ndarray):
        self.entities, self.relations, self.e, self.r = entities, relations, e, r

    def score(self, triples: Sequence[Triple]) -> np.ndarray:
        """float64 [triples]: the log-odds-like score, the mean of the tail's and the head's log-probability among all
        entities; NaN where a name is unknown.
        """
        known = [i for i, (h, r, t) in enumerate(triples)
                 if h in self.entities and t in self.entities and r in self.relations]  # fmt: skip
        found = np.full(len(triples), np.nan)
        for first in range(0, len(known), 256):
            part = known[first : first + 256]
            h, t = (np.array([self.entities[triples[i][k]] for i in part]) for k in (0, 2))
            r = np.array([self.relations[triples[i][1]] for i in part])
            tails = _against_all(self.e, self.e[h], self.r[r])
            heads = _against_all(self.e, self.e[t], self.r[r + len(self.relations)])
            logs = [x[np.arange(len(part)), y] - _logsumexp(x) for x, y in ((tails, t), (heads, h))]
            found[part] = (logs[0] + logs[1]) / 2
        return found


def train(
    triples: Sequence[Triple],
    *,
    rank: int = 64,
    epochs: int = 40,
    batch: int = 512,
    rate: float = 0.1,
    penalty: float = 1e-2,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> Embedding:
    """Fit to a graph's facts.

    Args:
        rank: complex numbers a name.
        penalty: weight of the N3 norm.
        progress: told each epoch and its mean loss, nats a query.
    """
    import torch

    entities = {name: i for i, name in enumerate(dict.fromkeys(x for h, _, t in triples for x in (h, t)))}
    relations = {name: i for i, name in enumerate(dict.fromkeys(r for _, r, _ in triples))}
    flat = np.array([(entities[h], relations[r], entities[t]) for h, r, t in triples])
    inverse = flat[:, [2, 1, 0]] + np.array([0, len(relations), 0])
    queries = torch.from_numpy(np.concatenate([flat, inverse]))
    random = torch.Generator().manual_seed(seed)
    e = (1e-1 * torch.randn(len(entities), 2 * rank, generator=random)).requires_grad_()
    r = (1e-1 * torch.randn(2 * len(relations), 2 * rank, generator=random)).requires_grad_()
    optimizer = torch.optim.Adagrad([e, r], lr=rate)
    for epoch in range(epochs):
        total = 0.0
        for part in torch.randperm(len(queries), generator=random).split(batch):
            h, relation, t = queries[part].unbind(1)
            eh, er, et = e[h], r[relation], e[t]
            loss = torch.nn.functional.cross_entropy(_combined(eh, er, rank) @ e.T, t)
            n3 = sum(_modulus(x, rank).pow(3).sum() for x in (eh, er, et)) / len(part)
            optimizer.zero_grad()
            (loss + penalty * n3).backward()
            optimizer.step()
            total += float(loss.detach()) * len(part)
        if progress is not None:
            progress(epoch + 1, total / len(queries))
    return Embedding(entities, relations, e.detach().numpy(), r.detach().numpy())


def _combined(h: Tensor, r: Tensor, rank: int) -> Tensor:
    """h r as complex numbers: its real product with conj(t) is the score."""
    import torch

    a, b, c, d = h[:, :rank], h[:, rank:], r[:, :rank], r[:, rank:]
    return torch.cat([a * c - b * d, a * d + b * c], 1)


def _modulus(x: Tensor, rank: int) -> Tensor:
    return (x[:, :rank].square() + x[:, rank:].square()).add(1e-12).sqrt()


def _against_all(e: np.ndarray, h: np.ndarray, r: np.ndarray) -> np.ndarray:
    rank = e.shape[1] // 2
    a, b, c, d = h[:, :rank], h[:, rank:], r[:, :rank], r[:, rank:]
    return np.asarray(np.concatenate([a * c - b * d, a * d + b * c], 1) @ e.T, np.float64)


def _logsumexp(x: np.ndarray) -> np.ndarray:
    top = x.max(1)
    return np.asarray(top + np.log(np.exp(x - top[:, None]).sum(1)))
