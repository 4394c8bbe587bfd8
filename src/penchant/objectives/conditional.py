"""Conditional training: maximum likelihood, with a token before each segment that says how good it is.

"Pretraining Language Models with Human Preferences" (Korbak et al., ICML 2023), section 2: log p(segment | token), the
token's own log-prob left out. Some tokens are left out, so that the model also writes without. Two bins (good, bad)
as there, or more, of one signal or of several at once.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from penchant.contracts import Context
from penchant.errors import InputError, OptionError
from penchant.objectives.mle import Mle
from penchant.records import Document, Encoded
from penchant.runtime.random import stream
from penchant.text.control import BAD, GOOD, Bins, encode_document, resolve_threshold, scores_of

__all__ = ["Conditional", "Options", "build"]

_MOST = 64  # control tokens


class Options(BaseModel, extra="forbid"):
    """What the tokens say, and how many there are."""

    signal: str | list[str] = Field("style", description="whose scores say what is good; several: a token for all")
    threshold: float | str | list[float | str | list[float | str]] = Field(
        0.0,
        description="score from which a segment is good: a number, median, or qX; a rising list of n makes n + 1 bins "
        "(good, middle, bad); of several signals one for all, or a list of one each",
    )
    drop: float = Field(0.05, ge=0, le=1, description="share of control tokens left out")
    soft: bool = Field(
        False,
        description="scores are probabilities of being good (raters'): tokens are drawn with them, once for each "
        "segment; held-out text goes by the threshold",
    )


class Conditional(Mle):
    """`Mle` of the content tokens of documents with control tokens."""

    def __init__(self, options: Options, bins: Bins, context: Context):
        self.options, self.bins, self.context, self.control = options, bins, context, bins.names
        self.threshold = bins.edges[0][0] if len(bins.names) == 2 else [list(own) for own in bins.edges]

    def transform(self, document: Document, number: int, heldout: bool) -> Encoded:
        """The document's tokens, each segment led by its label's; none is left out of held-out text."""
        marks = self.bins.of(document)
        if self.options.soft and not heldout:
            chances = scores_of(document, self.bins.signals[0])
            if not all(0 <= p <= 1 for p in chances):
                span = f"{min(chances):g} to {max(chances):g}"
                raise InputError(
                    f"soft needs probabilities, and signal {self.bins.signals[0]} gave {span}",
                    "name a signal of probabilities, or leave soft out",
                    file=document.source,
                )
            drawn = stream(self.context.seed, "soft labels", number).random(len(chances))
            marks = [GOOD if u < p else BAD for u, p in zip(drawn, chances, strict=True)]
        ids, control = encode_document(document, self.context.tokenizer, marks)
        if heldout or not self.options.drop:
            return Encoded(ids, control)
        stay = ~control | (stream(self.context.seed, "drop", number).random(len(ids)) >= self.options.drop)
        return Encoded(ids[stay], control[stay])


def build(options: Options, context: Context) -> Any:
    """The objective.

    Raises:
        InputError: the data have no such scores, or no such quantile of them.
        OptionError: thresholds that do not rise, or not one for each signal; too many tokens; `soft` of more than two.
    """
    signals = (options.signal,) if isinstance(options.signal, str) else tuple(options.signal)
    given = options.threshold
    each = given if isinstance(given, list) and len(signals) > 1 else [given] * len(signals)
    if len(each) != len(signals):
        raise OptionError(
            f"{len(each)} thresholds for {len(signals)} signals", "give one for all, or a list of one each"
        )
    edges = []
    for signal, own in zip(signals, each, strict=True):
        wanted: list[Any] = own if isinstance(own, list) else [own]
        if context.data:
            found = [resolve_threshold(one, context.data, signal) for one in wanted]
        else:  # nothing is known yet but how many there are
            found = [float(k if isinstance(one, str) else one) for k, one in enumerate(wanted)]
        if not found or (context.data and sorted(set(found)) != found):
            told = ", ".join(f"{value:g}" for value in found)
            raise OptionError(f"thresholds of {signal} that do not rise: {told or 'none'}", "give others")
        edges.append(tuple(found))
    bins = Bins(signals, tuple(edges))
    if not signals or len(set(signals)) < len(signals) or len(bins.names) > _MOST:
        raise OptionError(f"{len(bins.names)} control tokens", f"name each signal once, and {_MOST} bins at most")
    if options.soft and len(bins.names) > 2:
        raise OptionError("soft is for good and bad of one signal", "leave it out, or give one threshold")
    return Conditional(options, bins, context)
