"""An OpenAI-compatible chat service: retries, a cache on disk, and a count of what was asked and what it cost."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penchant.files import stable_hash, write_json

__all__ = ["Service", "ServiceError", "number_of"]


class ServiceError(Exception):
    """The service refused or failed each time; such a completion has no verdict."""


def number_of(text: str) -> float | None:
    """The first number of a reply; None where there is none."""
    found = re.search(r"-?\d+(?:\.\d+)?", text)
    return float(found[0]) if found else None


@dataclass
class Service:
    """Asks one model at temperature 0.

    Attributes:
        requests, cached: how many questions were sent, and how many were known.
        read, written: tokens that were paid for.
    """

    url: str
    model: str
    seconds: float
    retries: int
    cache: Path
    price: tuple[float, float] = (0.0, 0.0)
    wait: float = 1.0  # seconds before the first retry
    requests: int = 0
    cached: int = 0
    read: int = 0
    written: int = 0
    lock: Any = field(default_factory=threading.Lock)
    asking: dict[str, Any] = field(default_factory=dict)  # question -> a lock of its own

    @property
    def dollars(self) -> float:
        """What the tokens cost."""
        return (self.read * self.price[0] + self.written * self.price[1]) / 1e6

    def ask(self, question: str) -> str:
        """The answer to one message.

        Raises:
            ServiceError: it refused or failed each time.
        """
        path = self.cache / f"{stable_hash([self.url, self.model, question])}.json"
        with self.lock:
            mine = self.asking.setdefault(path.name, threading.Lock())
        with mine:  # who asks the same meanwhile waits for this answer, and does not pay for it again
            return self._answer(path, question)

    def _answer(self, path: Path, question: str) -> str:
        if path.is_file():
            with self.lock:
                self.cached += 1
            return str(json.loads(path.read_text(encoding="utf-8"))["answer"])
        body = {"model": self.model, "messages": [{"role": "user", "content": question}], "temperature": 0}
        found = self._post(body)
        answer = str(found["choices"][0]["message"]["content"] or "")
        usage = found.get("usage") or {}
        with self.lock:
            self.requests += 1
            self.read += int(usage.get("prompt_tokens", 0))
            self.written += int(usage.get("completion_tokens", 0))
        write_json(path, {"answer": answer})
        return answer

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        import httpx

        key = os.environ.get("OPENAI_API_KEY", "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        problem = ""
        for turn in range(self.retries + 1):
            if turn:
                time.sleep(self.wait * 2 ** (turn - 1))
            try:
                answer = httpx.post(
                    f"{self.url.rstrip('/')}/chat/completions", json=body, headers=headers, timeout=self.seconds
                )
                if answer.status_code == 200:
                    found: dict[str, Any] = answer.json()
                    if found.get("choices"):
                        return found
                    problem = "it answered without choices"
                else:
                    problem = f"it answered {answer.status_code}: {answer.text[:80]}"
                    if answer.status_code in (400, 401, 403, 404):
                        break  # asking again changes nothing
            except (httpx.HTTPError, ValueError) as error:
                problem = f"{type(error).__name__}: {error}"
        raise ServiceError(f"judge {self.model} at {self.url}: {problem}; check the service, or raise retries=")
