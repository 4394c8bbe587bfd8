"""The works of a comparison: `generate`, `grpo`, `sft`, each step timed as a run would do it.

Lines come from `bench_lines.txt` in the model's folder, so that another program can do the same work on the same text.
"""

from __future__ import annotations

import copy
import functools
import resource
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from penchant import registry
from penchant.batches.corpus import Corpus
from penchant.batches.prompts import PromptSet
from penchant.batches.rollouts import Rollouts, Sampling
from penchant.batches.rows import Item, Rows, batch_of, with_values
from penchant.batches.spread import cut
from penchant.contracts import Context, Judgement, Source, Spot
from penchant.data.shards import Windows
from penchant.errors import InputError
from penchant.models.decoder import Decoder
from penchant.models.load import load_model
from penchant.models.replay import pays
from penchant.records import Batch, Completion, Document, Encoded, Prompt
from penchant.runtime.cards import on_cuda, peak_memory_mb
from penchant.runtime.launch import Place
from penchant.runtime.mesh import Mesh
from penchant.sampling.engine import generate
from penchant.text.tokenizer import Tokenizer
from penchant.training.loop import TrainingPlan, train
from penchant.training.optimizer import Optimizer, OptimizerOptions
from penchant.training.size import rows_at_once

__all__ = ["WORKS", "Bench", "run"]

NEW, PROMPTS, GROUP, ROWS, CONTEXT = 64, 8, 8, 64, 256
PAIRS, PAIR = 32, 512  # pairs a step, tokens of a prompt and an answer at most


@dataclass
class Bench:
    """A model, its tokenizer and lines, and how it is to be run.

    `micro_batch_size` None: what a run would choose; `replay`: see `Rollouts`, None for where it pays.
    """

    model: Decoder
    tokenizer: Tokenizer
    lines: list[str]
    steps: int
    micro_batch_size: int | None
    threads: int
    device: str = "cpu"
    rows: int = ROWS
    length: int = CONTEXT
    replay: bool | None = None

    @classmethod
    def of(
        cls,
        folder: Path,
        dtype: torch.dtype,
        steps: int,
        micro_batch_size: int | None,
        threads: int,
        device: str = "cpu",
        rows: int = ROWS,
        length: int = CONTEXT,
    ) -> Bench:
        """From a model's folder; `rows` and `length` (tokens) are those of `sft`.

        Raises:
            InputError: the folder has no `bench_lines.txt`.
        """
        lines = folder / "bench_lines.txt"
        if not lines.is_file():
            raise InputError("the file is missing", "write the lines of text that the work is made of", file=lines)
        text = lines.read_text(encoding="utf-8").splitlines()
        model = load_model(folder, dtype, device)
        return cls(model, Tokenizer.load(folder), text, steps, micro_batch_size, threads, device, rows, length)

    @functools.cached_property
    def mesh(self) -> Mesh:
        """This process's threads and device."""
        return Mesh(self.threads, self.device, Place())

    def rows_at_once(self, longest: int) -> int:
        """Rows of one forward, of so many tokens at most."""
        return rows_at_once(self.micro_batch_size, self.model, longest, self.mesh)

    def prompts(self, count: int) -> list[str]:
        """The first lines of 21 to 59 characters."""
        return [line for line in self.lines if 20 < len(line) < 60][:count]

    def text(self, count: int, words: int) -> list[str]:
        """`count` stretches of so many words."""
        flat = " ".join(self.lines).split()
        return [" ".join(flat[i * words : (i + 1) * words]) for i in range(count)]


class _Timer:
    """A recorder that keeps the seconds of each step and writes nothing."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.rows: list[dict[str, Any]] = []

    def resume(self) -> None:
        return None

    def metrics(self, row: dict[str, Any]) -> None:
        self.seconds.append(row["step_seconds"])
        self.rows.append(row)

    def checkpoint(self, step: int, state: dict[str, Any], metrics: Mapping[str, float]) -> None:
        return None

    def stop(self) -> int:
        return 0


def _train(bench: Bench, source: Source, objective: Any) -> list[float]:
    options = OptimizerOptions(name="adamw", learning_rate=1e-4, schedule="linear", warmup=0.0, weight_decay=0.0)
    timer = _Timer()
    plan = TrainingPlan(source, objective, bench.steps, save_steps=bench.steps + 1)
    train(bench.model, Optimizer(bench.model, options, bench.steps), plan, timer, mesh=bench.mesh)
    return timer.seconds


def sft(bench: Bench) -> tuple[list[float], int]:
    """64 rows of 256 tokens of plain text (or as many as were asked for), packed, one update a batch.

    Raises:
        InputError: the text is too short for a batch.
    """
    ids = [i for text in bench.tokenizer.encode_batch(bench.text(2000, 90)) for i in text]
    document = Encoded(np.array(ids, np.int32), np.zeros(len(ids), bool))
    windows = [w for w in Windows([document], bench.length) if len(w.ids) == bench.length + 1]
    if len(windows) < bench.rows:
        problem = f"the text makes {len(windows)} rows of {bench.length} tokens"
        raise InputError(problem, "ask for fewer rows, or give more lines in bench_lines.txt")
    source = Corpus(windows, bench.rows * bench.length, bench.rows_at_once(bench.length), 0)
    objective = registry.load("objectives", "mle").build(None, Context())
    return _train(bench, source, objective), bench.rows * bench.length


def sample(bench: Bench) -> tuple[list[float], int]:
    """64 prompts, 64 new tokens each, sampled, no early stop."""
    prompts = bench.tokenizer.encode_batch(bench.prompts(64))
    seconds = []
    for step in range(bench.steps):
        start = time.perf_counter()
        generate(bench.model, prompts, max_new_tokens=NEW, seed=step, slots=64)
        seconds.append(time.perf_counter() - start)
    return seconds, 64 * NEW


class _ShareOfE:
    """A task of whole lines whose reward is the share of the letter e in what follows."""

    measures: Mapping[str, Any] = {}

    def spots(self, document: Document) -> list[Spot]:
        return [Spot(len(document.text))]

    def judge(self, prompt: Prompt, text: str, stop: str) -> Judgement:
        return Judgement({"reward": (text.count("e") / max(1, len(text)), 1.0)}, text, len(text))


def _reward(prompts: Sequence[Prompt], completions: Sequence[Completion], **columns: Any) -> list[float | None]:
    return [j.measures["reward"][0] for j in columns["judgements"]]


def grpo(bench: Bench) -> tuple[list[float], int]:
    """8 prompts x 8 samples x 64 new tokens, one update a batch, no KL."""
    task, tokenizer = _ShareOfE(), bench.tokenizer
    documents = [Document(str(i), line, (len(line),)) for i, line in enumerate(bench.prompts(512))]
    prompts = PromptSet(documents, task, tokenizer, CONTEXT, None, None, 0)
    longest = NEW + max(len(ids) for ids in tokenizer.encode_batch([d.text for d in documents]))
    module = registry.load("algorithms", "grpo")
    algorithm = module.build(module.Options(beta=0.0), Context(tokenizer=tokenizer))
    with tempfile.TemporaryDirectory() as folder:
        source = Rollouts(
            bench.model,
            None,
            tokenizer,
            task,
            prompts,
            {"share_of_e": (_reward, 1.0)},
            algorithm,
            Sampling(NEW, 1.0, (), tokenizer.special_ids),
            batch_size=PROMPTS * GROUP,
            num_generations=GROUP,
            micro_batch_size=bench.rows_at_once(longest),
            how="sum",
            seed=0,
            folder=Path(folder),
            max_clipped_ratio=1.0,
            replay=pays(bench.model, 2 * PROMPTS * GROUP * NEW) if bench.replay is None else bench.replay,
        )
        return _train(bench, source, algorithm.objective), PROMPTS * GROUP * NEW


class _Referred(Rows):
    """Pairs whose reference log-probs are computed in the step."""

    def __init__(self, reference: Any, *rest: Any):
        super().__init__(*rest)
        self.reference = reference

    def next(self, step: int) -> tuple[list[Batch], dict[str, float]]:
        """The next pairs, with what the reference says of them."""
        chosen = sorted(self._chosen(), key=lambda item: item.size)
        self.reference.eval()
        found = with_values(self.mesh, self.reference, chosen, "reference_logprobs", self.micro)
        return [batch_of(group, self.model) for group in cut(found, self.micro, self.mesh.lanes)], {}


def dpo(bench: Bench) -> tuple[list[float], int]:
    """32 pairs of texts of 90 words after a prompt of 90, the reference's log-probs in the step, one update a batch."""
    rows = bench.text(3 * 256, 90)
    ids = bench.tokenizer.encode_batch(rows)
    end = bench.tokenizer.eos_id
    items = [
        Item(tuple(prompt), tuple(tuple([*answer, end][: PAIR - len(prompt)]) for answer in answers))
        for prompt, *answers in zip(ids[0::3], ids[1::3], ids[2::3], strict=True)
    ]
    objective = registry.load("objectives", "dpo")
    reference = copy.deepcopy(bench.model).requires_grad_(False)
    micro = max(1, bench.rows_at_once(PAIR) // 2)  # a pair is two rows
    source = _Referred(reference, bench.model, items, PAIRS, micro, 0, bench.mesh)
    tokens = sum(len(row) for row in ids[: 3 * PAIRS])
    return _train(bench, source, objective.build(objective.Options(), Context())), tokens


WORKS = {"generate": sample, "grpo": grpo, "dpo": dpo, "sft": sft}


def run(work: str, bench: Bench) -> dict[str, Any]:
    """Do the work; the first step warms up and is dropped.

    Returns:
        `seconds` a step, `tokens` a step, `peak_rss_mb` of the process, on CUDA `peak_gpu_mb` of tensors.
    """
    torch.set_num_threads(bench.threads)
    seconds, tokens = WORKS[work](bench)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 1 << 20)
    found = {"seconds": [round(s, 5) for s in seconds[1:]], "tokens": tokens, "peak_rss_mb": peak}
    if on_cuda(bench.device):
        found["peak_gpu_mb"] = peak_memory_mb()
    return found
