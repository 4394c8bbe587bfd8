"""A reward that rises while what it stands for falls is told, once a rise; noise is not."""

import json

import numpy as np

from penchant.batches.watch import Watch


def run(rewards, metrics, watch=None):
    told = []
    watch = watch or Watch("clarity", told.append)
    watch.tell = told.append
    for reward, metric in zip(rewards, metrics, strict=True):
        watch.add(reward, metric)
    return told, watch


def test_hacking_is_told_with_its_figures():
    told, _ = run([0.1] * 5 + [0.5] * 5, [0.8] * 5 + [0.3] * 5)
    assert len(told) == 1
    assert "from 0.1 to 0.5" in told[0]
    assert "clarity, which is not optimised, fell from 0.8 to 0.3" in told[0]


def test_it_is_told_again_only_where_the_reward_rose_further():
    rewards, metrics = np.linspace(0, 1, 40), np.linspace(1, 0, 40)
    told, _ = run(rewards, metrics)
    assert 1 < len(told) <= 31
    flat, _ = run([0.1] * 5 + [0.5] * 25, [0.8] * 5 + [0.3] * 25)
    assert len(flat) <= 5


def test_what_rises_together_and_noise_are_not():
    assert run(np.linspace(0, 1, 30), np.linspace(0, 1, 30))[0] == []
    assert run(np.linspace(1, 0, 30), np.linspace(1, 0, 30))[0] == []
    rng = np.random.default_rng(0)
    counts = [len(run(rng.normal(size=20), rng.normal(size=20))[0]) for _ in range(40)]
    assert np.mean([count > 0 for count in counts]) < 0.6
    assert run([np.nan] * 20, [0.0] * 20)[0] == []


def test_it_goes_on_with_what_it_saw():
    _, first = run([0.1] * 5 + [0.5] * 2, [0.8] * 5 + [0.3] * 2)
    again = Watch("clarity", print)
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    rest = ([0.5] * 3, [0.3] * 3)
    assert run(*rest, watch=again)[0] == run(*rest, watch=first)[0] != []
