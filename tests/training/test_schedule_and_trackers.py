"""Schedules at their ends; trackers that are guests."""

import itertools

import pytest

from penchant.errors import MissingExtra
from penchant.training import trackers
from penchant.training.schedule import factor


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "wsd"])
def test_schedules_warm_up_and_end_where_they_should(name):
    values = [factor(name, step, 100, warmup=0.1, decay=0.2) for step in range(100)]
    assert values[0] == pytest.approx(0.1)
    assert values[9] == pytest.approx(1.0)
    assert all(b >= a for a, b in itertools.pairwise(values[:10]))
    assert all(b <= a for a, b in itertools.pairwise(values[10:]))
    assert (values[-1] == 1.0) if name == "constant" else (0 < values[-1] < 0.06)
    if name == "wsd":
        assert values[79] == 1.0
        assert values[90] == pytest.approx(0.5)


def test_tensorboard_gets_the_numbers(tmp_path):
    pytest.importorskip("tensorboard")
    (hook,) = trackers.hooks(["tensorboard"], tmp_path, "p", "n", print)
    hook({"step": 1, "loss": 0.5, "text": "not a number"})
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_a_tracker_that_fails_is_dropped_aloud_and_ends_nothing(tmp_path, monkeypatch):
    def broken(folder, project, name):
        def hook(row):
            raise ConnectionError("no server")

        return hook

    monkeypatch.setitem(trackers._MAKERS, "wandb", broken)
    said = []
    (hook,) = trackers.hooks(["wandb"], tmp_path, "p", "n", said.append)
    hook({"step": 1})
    hook({"step": 2})
    assert said == ["tracker wandb stopped: ConnectionError: no server"]


def test_a_tracker_that_is_not_installed_is_a_missing_extra(tmp_path):
    with pytest.raises(MissingExtra, match=r"penchant\[trackio\]"):
        trackers.hooks(["trackio"], tmp_path, "p", "n", print)
