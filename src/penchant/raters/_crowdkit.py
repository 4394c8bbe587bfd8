"""Methods of the library crowd-kit behind our votes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from penchant.errors import MissingExtra
from penchant.raters.votes import Estimate, Votes

__all__ = ["estimated"]


def estimated(votes: Votes, make: Callable[[Any], Any], reliability: Callable[[Any], Any]) -> Estimate:
    """A fitted aggregator's probabilities.

    Args:
        make: crowdkit.aggregation -> the aggregator.
        reliability: the fitted aggregator -> a number a rater, by its index.

    Raises:
        MissingExtra: crowd-kit is not installed.
    """
    try:
        import pandas as pd
        from crowdkit import aggregation
    except ImportError as error:
        raise MissingExtra("this method", "annotation") from error
    table = pd.DataFrame({"task": votes.item, "worker": votes.rater, "label": votes.label})
    fitted = make(aggregation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        probability = fitted.fit_predict_proba(table.drop_duplicates(["task", "worker"]))
    found = probability.reindex(index=range(len(votes.items)), columns=range(len(votes.labels)), fill_value=0.0)
    values = found.to_numpy(float)
    own = reliability(fitted)
    return Estimate(
        values / values.sum(1, keepdims=True),
        np.array([float(own.get(rater, np.nan)) for rater in range(len(votes.raters))]),
        {"votes_left_out": int(len(table) - len(table.drop_duplicates(["task", "worker"])))},
    )
