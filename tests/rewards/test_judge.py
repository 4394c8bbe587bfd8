"""A judge over HTTP: marks, choices with places changed, retries, the cache, the count; against a real local server."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from penchant import registry
from penchant.batches.scoring import score as score_all
from penchant.contracts import Context, Judgement
from penchant.errors import InputError
from penchant.records import Completion, Prompt
from penchant.text.service import ServiceError


class Judge(BaseHTTPRequestHandler):
    """Prefers the longer answer, with a liking for the first place; fails as it is told."""

    failures = 0
    asked: list = []  # noqa: RUF012

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][0]["content"]
        type(self).asked.append((self.path, self.headers.get("Authorization"), body["model"]))
        if type(self).failures > 0:
            type(self).failures -= 1
            self.send_response(503)
            self.end_headers()
            return
        if "broken" in text:
            self.send_response(400)
            self.end_headers()
            return
        if "Answer 1:" in text:
            first, second = text.split("Answer 1:\n")[1].split("\n\nAnswer 2:\n")
            reply = "1" if len(first) + 3 >= len(second) else "2"
        else:
            answer = text.split("Answer:\n")[1]
            reply = "hm" if answer == "?" else f"I say {min(10, len(answer))}."
        found = {"choices": [{"message": {"content": reply}}], "usage": {"prompt_tokens": 10, "completion_tokens": 2}}
        data = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words):
        pass


@pytest.fixture
def url():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Judge.failures, Judge.asked = 0, []
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def made(url, cache, **options):
    module = registry.load("rewards", "llm_judge")
    reward = module.build(module.Options(base_url=url, cache=str(cache), model="judge-1", **options), Context())
    reward.service.wait = 0.01
    return reward


def said(*texts):
    return [Completion((), np.zeros(0), np.zeros(0, bool), text, "end") for text in texts]


def prompts(count, answer="good day"):
    return [Prompt((), "hello", "a", {"answer": answer})] * count


def test_marks_and_what_they_cost(url, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    reward = made(url, tmp_path, dollars_per_million=(1.0, 10.0))
    assert reward(prompts(3), said("abcd", "abcdefghijklm", "?")) == [0.4, 1.0, None]
    assert set(Judge.asked) == {("/v1/chat/completions", "Bearer secret", "judge-1")}
    service = reward.service
    assert (service.requests, service.read, service.written) == (3, 30, 6)
    assert service.dollars == pytest.approx((30 + 60) / 1e6)
    assert made(url, tmp_path)(prompts(1), said("abcd")) == [0.4]
    assert len(Judge.asked) == 3  # known already


def test_a_choice_is_asked_both_ways_so_that_places_do_not_matter(url, tmp_path):
    reward = made(url, tmp_path, mode="choice")
    found = reward(prompts(3), said("good day, my friend", "good", "good days"))
    assert found == [1.0, 0.0, 0.5]  # nearly as long: the judge takes whichever stands first
    assert len(Judge.asked) == 6


def test_it_is_asked_again_and_then_told(url, tmp_path):
    Judge.failures = 2
    assert made(url, tmp_path, retries=2)(prompts(1), said("abcd")) == [0.4]
    Judge.failures = 9
    with pytest.raises(ServiceError, match="it answered 503"):
        made(url, tmp_path, retries=1)(prompts(1), said("abc"))
    Judge.failures = 0
    before = len(Judge.asked)
    with pytest.raises(ServiceError, match="it answered 400"):
        made(url, tmp_path, retries=5)(prompts(1), said("broken"))
    assert len(Judge.asked) == before + 1  # a refusal is final
    with pytest.raises(InputError, match="OPENAI_BASE_URL"):
        registry.load("rewards", "llm_judge").build(registry.load("rewards", "llm_judge").Options(), Context())


def test_failures_are_masked_and_counted_not_zero(url, tmp_path):
    reward = made(url, tmp_path, retries=0)
    judged = [Judgement({}, "", 0)] * 3
    found = score_all({"judge": (reward, 1.0)}, prompts(3), said("abcd", "broken", "ab"), judged, "sum")
    assert found.failed == {"judge": 1}
    assert "it answered 400" in found.errors["judge"]
    np.testing.assert_array_equal(found.reward, [0.4, np.nan, 0.2])
