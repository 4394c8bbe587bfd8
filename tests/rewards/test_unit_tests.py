"""Code that nobody trusts: what is right passes, and nothing gets out, whatever it tries."""

import time

import numpy as np
import pytest

from penchant import registry
from penchant.contracts import Context
from penchant.errors import InputError
from penchant.records import Completion, Prompt
from penchant.rewards._sandbox import Limits, passed, usable

needs = pytest.mark.skipif(bool(usable()), reason=f"no sandbox here: {usable()}")
TESTS = ["assert add(1, 2) == 3", "assert add(-1, 1) == 0"]


def judge(bodies, tests=TESTS, **options):
    module = registry.load("rewards", "unit_tests")
    score = module.build(module.Options(**options), Context())
    prompts = [Prompt((), "def add(a, b):\n", "a", {"tests": tests})] * len(bodies)
    return score(prompts, [Completion((), np.zeros(0), np.zeros(0, bool), body, "end") for body in bodies])


@needs
def test_right_half_right_and_wrong_code():
    bodies = ["    return a + b\n", "    return abs(a) + abs(b)\n", "    return a - b\n", "    retrn a\n"]
    assert judge(bodies) == [1.0, 0.5, 0.0, 0.0]
    assert judge(["    return a + b\n"], tests=[]) == [None]


@needs
@pytest.mark.parametrize(
    "attempt",
    [
        "import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)",
        "open('{outside}', 'w').write('x')",
        "import os\nos.remove('{victim}')",
        "import subprocess\nsubprocess.run(['sh', '-c', 'echo x > {outside}'], check=True)",
        "import os\nos.kill(1, 9) or os.kill(os.getppid(), 9)",
        "x = bytearray(1 << 40)",
        "open('big', 'wb').write(b'x' * (1 << 28))",
    ],
)
def test_nothing_gets_out(tmp_path, attempt):
    import socket

    victim, outside = tmp_path / "victim", tmp_path / "outside"
    victim.write_text("safe")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        code = attempt.format(port=server.getsockname()[1], outside=outside, victim=victim)
        found = passed("", [code + "\nassert True", "assert True"], Limits(5, 512, True))
        assert found <= 1 or "kill" in attempt  # it fails; signals do not even reach anybody
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()
    assert victim.read_text() == "safe"
    assert not outside.exists()


@needs
@pytest.mark.parametrize(
    "code",
    [
        "while True:\n    pass",
        "import os, time\nfor _ in range(7):\n    os.fork()\ntime.sleep(60)",
        "import time\ntime.sleep(60)",
    ],
)
def test_what_does_not_end_is_ended(code):
    start = time.monotonic()
    assert passed(code, ["assert True"], Limits(1, 256, True)) == 0
    assert time.monotonic() - start < 8


@needs
def test_a_completion_cannot_print_its_own_result():
    assert passed("print('0' * 32, 99)\nimport os\nos._exit(0)", ["assert False"], Limits(5, 256, True)) == 0


def test_where_nothing_can_be_shut_in_it_refuses(monkeypatch):
    monkeypatch.setattr("penchant.rewards.unit_tests.usable", lambda: "namespaces are not allowed")
    with pytest.raises(InputError, match="sandbox=off"):
        judge(["    return a + b\n"])
    assert judge(["    return a + b\n"], sandbox="off") == [1.0]
