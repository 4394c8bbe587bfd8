import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from penchant.data import annotate as module
from penchant.data.annotate import annotate, check_constant
from penchant.errors import DataRejected, Stopped
from penchant.records import Document, Segment
from penchant.text.segment import segment_ends

Maker = Callable[[], Mapping[str, Callable[[Sequence[Segment]], list[float]]]]


def document(name: str, text: str) -> Document:
    return Document(name, text, segment_ends(text, "line"), {}, {"author": name})


DOCUMENTS = [document(str(k), "line\n" * (k % 5 + 1) + "x" * k) for k in range(1, 40)]


def make() -> Mapping[str, Callable[[Sequence[Segment]], list[float]]]:
    return {"length": lambda segments: [len(s.text) / 3 for s in segments]}


def test_scores_are_what_a_file_can_hold() -> None:
    done = annotate(DOCUMENTS, make)
    assert [d.source for d in done] == [d.source for d in DOCUMENTS]
    assert done[0].scores["length"] == tuple(float(np.float32(len(s) / 3)) for s in DOCUMENTS[0].segments())


def test_processes_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WORTH_A_PROCESS", 100)
    monkeypatch.setattr(module, "_CHUNK", 100)
    told: list[int] = []
    assert annotate(DOCUMENTS, make, workers=2, progress=told.append) == annotate(DOCUMENTS, make)
    assert told[-1] == len(DOCUMENTS)


def test_signals_see_segments_in_order_with_their_columns() -> None:
    seen: list[Segment] = []

    def signal(segments: Sequence[Segment]) -> list[float]:
        seen.extend(segments)
        return [0.0] * len(segments)

    annotate([document("a", "one\ntwo\n")], lambda: {"s": signal})
    assert seen == [Segment("one\n", 0, {"author": "a"}), Segment("two\n", 4, {"author": "a"})]


@pytest.mark.parametrize(
    ("scores", "message"),
    [([1.0], "1 scores for 2 segments"), ([1.0, float("nan")], "not finite"), ([1e39, 0], "not fin")],
)
def test_wrong_signals_are_named(scores: list[float], message: str) -> None:
    with pytest.raises(DataRejected, match=message):
        annotate([document("a", "one\ntwo\n")], lambda: {"s": lambda segments: scores})


def test_constant_scores_are_refused() -> None:
    done = annotate(DOCUMENTS, lambda: {"same": lambda segments: [1.0] * len(segments)})
    with pytest.raises(DataRejected, match=r"signal same scores every segment the same \(1\)") as raised:
        check_constant(done)
    assert raised.value.exit_code == 4
    check_constant(annotate(DOCUMENTS, make))


def test_stop_is_heard() -> None:
    def progress(done: int) -> None:
        raise Stopped(15)

    with pytest.raises(Stopped):
        annotate(DOCUMENTS, make, progress=progress)


KILLED = """
import os, sys, time
from tests_annotate_slow import documents, make
from penchant.data import annotate
if __name__ == "__main__":
    annotate._WORTH_A_PROCESS = annotate._CHUNK = 1
    annotate.annotate(documents, make, workers=2)
"""
SLOW = """
import os, time
from penchant.records import Document
documents = [Document(str(k), "ab", (2,)) for k in range(50)]
def wait(segments):
    with open("pids", "a") as handle:
        handle.write(f"{os.getpid()}\\n")
    time.sleep(0.2)
    return [0.0]
def make():
    return {"wait": wait}
"""


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(KILLED)
    (tmp_path / "tests_annotate_slow.py").write_text(SLOW)
    parent = subprocess.Popen([sys.executable, "main.py"], cwd=tmp_path)
    until = time.monotonic() + 30
    while not (tmp_path / "pids").exists() and time.monotonic() < until:
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    pids = {int(line) for line in (tmp_path / "pids").read_text().split()}
    while any(_alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert pids
    assert not any(_alive(pid) for pid in pids)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return not Path("/proc").exists()
    return state != "Z"
