from collections.abc import Sequence

import numpy as np
import pytest

from penchant.contracts import Signal
from penchant.data.annotate import check_constant, score
from penchant.errors import DataRejected
from penchant.records import Document, Segment
from penchant.text.segment import segment_ends


def document(name: str, text: str) -> Document:
    return Document(name, text, segment_ends(text, "line"), {}, {"author": name})


DOCUMENTS = [document(str(k), "line\n" * (k % 5 + 1) + "x" * k) for k in range(1, 40)]


SIGNALS: dict[str, Signal] = {"length": lambda segments: [len(s.text) / 3 for s in segments]}


def test_scores_are_what_a_file_can_hold() -> None:
    done = score(DOCUMENTS, SIGNALS)
    assert [d.source for d in done] == [d.source for d in DOCUMENTS]
    assert done[0].scores["length"] == tuple(float(np.float32(len(s) / 3)) for s in DOCUMENTS[0].segments())


def test_signals_see_segments_in_order_with_their_columns() -> None:
    seen: list[Segment] = []

    def signal(segments: Sequence[Segment]) -> list[float]:
        seen.extend(segments)
        return [0.0] * len(segments)

    score([document("a", "one\ntwo\n")], {"s": signal})
    assert seen == [Segment("one\n", 0, {"author": "a"}), Segment("two\n", 4, {"author": "a"})]


@pytest.mark.parametrize(
    ("scores", "message"),
    [([1.0], "1 scores for 2 segments"), ([1.0, float("nan")], "not finite"), ([1e39, 0], "not fin")],
)
def test_wrong_signals_are_named(scores: list[float], message: str) -> None:
    with pytest.raises(DataRejected, match=message):
        score([document("a", "one\ntwo\n")], {"s": lambda segments: scores})


def test_constant_scores_are_refused() -> None:
    with pytest.raises(DataRejected, match=r"signal same scores every segment the same \(1\)") as raised:
        check_constant({"same": (1.0, 1.0)}, 2)
    assert raised.value.exit_code == 4
    check_constant({"same": (1.0, 1.0)}, 1)
    check_constant({"other": (1.0, 2.0)}, 5)
