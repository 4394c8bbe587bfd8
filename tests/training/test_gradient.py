"""The gradient does not depend on how a step is cut: micro-batches, threads; the same cut gives the same bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from penchant.contracts import Context
from penchant.data.halve import halves
from penchant.data.pack import next_token_batch, shared_prompt_batch
from penchant.errors import PenchantError
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.quantities import quantities
from penchant.objectives import mle, policy_gradient
from penchant.runtime.launch import Place
from penchant.runtime.mesh import Mesh
from penchant.training.gradient import gradient_step

ROWS = 9


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    config = DecoderConfig(vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2)
    return Decoder(config).initialise(0)


def rows() -> list[dict[str, np.ndarray]]:
    """Sequences of different lengths, with columns and masks."""
    rng = np.random.default_rng(1)
    found = []
    for number in range(ROWS):
        n = int(rng.integers(3, 24))
        keep = rng.random(n) < 0.7
        keep[-1] = True
        columns = {"advantages": rng.normal(), "rollout_logprobs": -3.0, "reference_logprobs": -3.2}
        found.append(
            {"ids": rng.integers(0, 40, n), "keep": keep}
            | {k: np.full(n, v + 0.1 * number, np.float32) for k, v in columns.items()}
        )
    return found


def objective(name: str):
    if name == "mle":
        return mle.build(mle.Options(), Context())
    return policy_gradient.build(policy_gradient.Options(beta=0.2), Context())


def gradient(model: Decoder, name: str, cuts: list[list[int]], threads: int) -> tuple[dict[str, float], list[Tensor]]:
    everything = rows()
    names = () if name == "mle" else ("advantages", "rollout_logprobs", "reference_logprobs")
    batches = []
    for cut in cuts:
        part = [everything[i] for i in cut]
        columns = {n: [row[n] for row in part] for n in names}
        batches.append(next_token_batch([r["ids"] for r in part], [r["keep"] for r in part], columns))
    model.zero_grad()
    row = gradient_step(model, objective(name), batches, Mesh(threads, "cpu", Place()))
    return row, [p.grad.clone() for p in model.parameters()]


def far(a: list[Tensor], b: list[Tensor]) -> float:
    """The relative distance of two gradients."""
    x, y = (torch.cat([t.double().flatten() for t in side]) for side in (a, b))
    return float((x - y).norm() / x.norm())


@pytest.mark.parametrize("name", ["mle", "policy_gradient"])
@given(st.data())
@settings(max_examples=12, deadline=None)
def test_any_cut_and_any_threads_give_the_same_gradient(decoder: Decoder, name: str, data: st.DataObject) -> None:
    expected_row, expected = gradient(decoder, name, [list(range(ROWS))], 1)
    order = data.draw(st.permutations(range(ROWS)))
    edges = sorted(data.draw(st.sets(st.integers(1, ROWS - 1), max_size=ROWS - 1)))
    cuts = [order[a:b] for a, b in zip([0, *edges], [*edges, ROWS], strict=True)]
    threads = data.draw(st.integers(1, 3))
    row, found = gradient(decoder, name, cuts, threads)
    assert far(expected, found) < 1e-5
    assert row.keys() == expected_row.keys()
    for key, value in expected_row.items():
        assert row[key] == pytest.approx(value, rel=1e-5, abs=1e-6), key
    again_row, again = gradient(decoder, name, cuts, threads)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    assert again_row == row


class Small:
    """An objective on a device where so many tokens do not fit."""

    def __init__(self, inner, most: int) -> None:
        self.inner, self.most, self.quantities, self.seen = inner, most, inner.quantities, []

    def totals(self, batches):
        return self.inner.totals(batches)

    def loss(self, quantities, batch):
        self.seen.append(len(batch.inputs))
        if len(batch.inputs) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.inner.loss(quantities, batch)


def test_memory_that_runs_out_halves_the_micro_batches_for_good(decoder: Decoder) -> None:
    batch = next_token_batch([r["ids"] for r in rows()], [r["keep"] for r in rows()])
    _, expected = gradient(decoder, "mle", [list(range(ROWS))], 1)
    small, state = Small(objective("mle"), len(batch.inputs) // 3), {}
    decoder.zero_grad()
    row = gradient_step(decoder, small, [batch], None, state)
    assert row["halved"] == state["halved"] >= 2
    assert far(expected, [p.grad for p in decoder.parameters()]) < 1e-5
    small.seen.clear()
    gradient_step(decoder, small, [batch], None, state)
    assert max(small.seen) <= small.most  # the next step begins with what fits
    with pytest.raises(PenchantError, match="shorter rows"):
        gradient_step(decoder, Small(objective("mle"), 1), [batch])


def test_halves_have_the_same_labels_and_the_prompts_that_they_need(decoder: Decoder) -> None:
    rng = np.random.default_rng(0)
    prompts = [rng.integers(0, 40, n) for n in (4, 7)]
    groups = [[rng.integers(0, 40, n) for n in (3, 1, 6)], [rng.integers(0, 40, n) for n in (2, 5)]]
    whole = shared_prompt_batch(prompts, groups)
    parts = [quarter for half in halves(whole) for quarter in halves(half)]
    assert sum(len(part.labels) for part in parts) == len(whole.labels)
    with torch.no_grad():
        expected = quantities(decoder, whole, ("logprobs",))["logprobs"]
        found = torch.cat([quantities(decoder, part, ("logprobs",))["logprobs"] for part in parts])
    torch.testing.assert_close(expected, found, rtol=1e-5, atol=1e-5)
    assert [part.labels.tolist() for part in halves(next_token_batch([np.arange(5)]))] == [[1, 2, 3, 4]]


def test_no_batch_at_all_is_no_gradient(decoder: Decoder) -> None:
    decoder.zero_grad()
    row = gradient_step(decoder, objective("mle"), [], Mesh.alone())
    assert row == {"loss": 0.0, "tokens": 0.0}
    assert all(p.grad is None for p in decoder.parameters())
