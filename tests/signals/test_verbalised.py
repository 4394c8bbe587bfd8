"""A probability said in words, asked of a real local server: scale, places changed, the cache, failures."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from penchant.commands._signal_card import go
from penchant.contracts import Context
from penchant.errors import DataRejected, InputError
from penchant.plugins import plug
from penchant.raters.read import Layout
from penchant.records import Segment


class Rater(BaseHTTPRequestHandler):
    """Says 10 a word, at most 100; of two texts 50 + 10 for each word more, and 20 for the first place."""

    asked: list = []  # noqa: RUF012

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][0]["content"]
        type(self).asked.append(text)
        if "refuse" in text:
            self.send_response(400)
            self.end_headers()
            return
        if "Text 1:" in text:
            first, second = text.split("Text 1:\n")[1].split("\n\nText 2:\n")
            reply = str(70 + 10 * (len(first.split()) - len(second.split())))
        else:
            words = text.split("Text:\n")[1].split()
            reply = "no idea" if words == ["mute"] else f"About {min(100, 10 * len(words))} %"
        found = {"choices": [{"message": {"content": reply}}], "usage": {"prompt_tokens": 20, "completion_tokens": 3}}
        data = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words):
        pass


@pytest.fixture
def url():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Rater)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Rater.asked = []
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def made(url, cache, **options):
    entry = {"name": "verbalised", "base_url": url, "cache": str(cache), "model": "m", "retries": 0, **options}
    return plug("signals", entry, Context())


def segments(*texts):
    return [Segment(text, 0) for text in texts]


def test_each_segment_has_its_probability_and_nothing_is_paid_twice(url, tmp_path):
    signal = made(url, tmp_path, quality="polite", dollars_per_million=(1.0, 2.0))
    assert signal(segments("one two three", "a", "one two three")) == pytest.approx([0.3, 0.1, 0.3])
    assert all("say that this text is polite" in text for text in Rater.asked)
    paid = signal.service.requests
    assert paid == 2 == len(Rater.asked)  # the same text twice at once is asked for once
    assert signal(segments(*["at once"] * 40)) == pytest.approx([0.2] * 40) and signal.service.requests == 3
    paid = 3
    assert signal(segments("one two three")) == pytest.approx([0.3])
    assert signal.service.requests == paid and signal.service.cached >= 1
    assert signal.service.dollars == pytest.approx(paid * (20 + 2 * 3) / 1e6)
    again = made(url, tmp_path, quality="polite")
    assert again(segments("a")) == pytest.approx([0.1]) and again.service.requests == 0


def test_a_liking_for_the_first_place_cancels_out(url, tmp_path):
    signal = made(url, tmp_path, against="two words")
    assert signal(segments("two words")) == pytest.approx([0.5])
    assert signal(segments("it has four words", "one")) == pytest.approx([0.7, 0.4])


def test_what_gives_no_number_stops_or_gets_the_score_that_is_set(url, tmp_path):
    with pytest.raises(DataRejected, match="signal verbalised: it gave no number from 0 to 100; ask otherwise"):
        made(url, tmp_path)(segments("mute"))
    with pytest.raises(DataRejected, match="it answered 400"):
        made(url, tmp_path)(segments("refuse this"))
    assert made(url, tmp_path, otherwise=0.25)(segments("mute", "a b", "refuse")) == pytest.approx([0.25, 0.2, 0.25])


def test_options(monkeypatch, tmp_path):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(InputError, match="no service is named"):
        made(None, tmp_path)
    with pytest.raises(InputError, match="a question holds"):
        made("http://x", tmp_path, question="how good?")


def test_its_card_counts_what_the_judge_cost(url, tmp_path):
    rows = [{"text": " ".join(["w"] * n), "label": n + (n == 3)} for n in (1, 2, 3, 4, 5, 9)]
    (tmp_path / "rated.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = [f"base_url={url}", f"cache={tmp_path / 'cache'}", "dollars_per_million=[1, 2]"]
    found = [
        go("verbalised", settings, str(tmp_path / "rated.jsonl"), "text", Layout(columns=("label",)), None, 99, None)
        for _ in range(2)
    ]
    assert found[0]["concordance"][0] == 1.0
    asked = {"requests": 6, "cached": 0, "read": 120, "written": 18, "dollars": pytest.approx(156e-6)}
    assert found[0]["service"] == asked
    assert found[1]["service"] == {"requests": 0, "cached": 6, "read": 0, "written": 0, "dollars": 0}
