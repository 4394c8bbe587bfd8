import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penchant.data.parallel import Processes


class Doubler:
    """Doubles numbers; one of them kills the process that is asked, but for the one that made this file."""

    def __init__(self, home: int = 0):
        self.home = home

    def double(self, number: int) -> int:
        if number == 13 and os.getpid() != self.home:
            os._exit(9)
        if number == 14:
            raise ValueError("fourteen")
        return 2 * number


def taken(upto: int, log: list[int]) -> Iterator[tuple[int]]:
    for k in range(upto):
        log.append(k)
        yield (k,)


@pytest.mark.parametrize("count", [1, 2])
def test_results_come_in_order_and_calls_are_taken_as_needed(count: int) -> None:
    log: list[int] = []
    workers = Processes(Doubler, count)
    results = workers.each("double", taken(12, log))
    assert next(results) == 0
    assert len(log) <= 2 * count + 1
    assert list(results) == [2 * k for k in range(1, 12)]
    assert list(workers.each("double", ())) == []
    with pytest.raises(ValueError, match="fourteen"):
        list(workers.each("double", [(14,)]))
    workers.close()
    workers.close()


def test_what_a_killed_worker_was_at_is_done_here() -> None:
    import functools

    workers = Processes(functools.partial(Doubler, os.getpid()), 2)
    assert list(workers.each("double", ((k,) for k in (11, 12, 13, 11, 12)))) == [22, 24, 26, 22, 24]
    assert list(workers.each("double", [(13,)])) == [26]
    workers.close()


KILLED = """
import os, sys, time
from slow import Slow
from penchant.data.parallel import Processes
if __name__ == "__main__":
    list(Processes(Slow, 2).each("wait", ((k,) for k in range(50))))
"""
SLOW = """
import os, time
class Slow:
    def wait(self, number):
        with open("pids", "a") as handle:
            handle.write(f"{os.getpid()}\\n")
        time.sleep(0.2)
"""


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(KILLED)
    (tmp_path / "slow.py").write_text(SLOW)
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
