"""Pretrain a decoder from scratch on prepared documents, with or without control tokens before each segment."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from penchant import console, registry
from penchant.batches.corpus import Corpus, windows_of
from penchant.contracts import Context, StageContext
from penchant.data.pack import next_token_batch
from penchant.data.store import read_documents
from penchant.errors import DataRejected, InputError
from penchant.files import append_json_lines, read_json
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.quantities import quantities
from penchant.records import Document
from penchant.runs.recorder import StageRecorder
from penchant.runtime.device import device_name, set_threads
from penchant.runtime.precision import resolve_dtype
from penchant.runtime.random import stream
from penchant.sampling.engine import generate
from penchant.text.control import encode_document, insertions, labels, resolve_threshold
from penchant.text.tokenizer import Tokenizer
from penchant.training.loop import TrainingPlan, train
from penchant.training.optimizer import Optimizer, OptimizerOptions
from penchant.training.trackers import TrackerName, hooks

__all__ = ["ModelOptions", "Options", "plan", "run"]


class ModelOptions(BaseModel, extra="forbid"):
    """The decoder's shape (names of `transformers.LlamaConfig`)."""

    hidden_size: int = 128
    intermediate_size: int = 384
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 4
    max_position_embeddings: int = 512


class Options(BaseModel, extra="forbid"):
    """How a decoder is pretrained."""

    objective: Literal["mle", "conditional"] = "mle"
    signal: str = "style"
    threshold: float | str = 0.0
    drop: float = Field(
        0.05, ge=0, le=1, description="share of control tokens left out, so the model also writes without"
    )
    steps: int = Field(1400, ge=1)
    batch_size: int = Field(16, ge=1, description="rows of `context` content tokens in one optimizer step")
    micro_batch_size: int = Field(32, ge=1, description="rows in one forward")
    context: int = Field(128, ge=2, description="tokens the model sees in training")
    model: ModelOptions = ModelOptions()
    optimizer: OptimizerOptions = OptimizerOptions()
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    device: str = "auto"
    eval_steps: int = Field(140, ge=1)
    eval_tokens: int = Field(32768, ge=1, description="held-out content tokens of each evaluation")
    save_steps: int = Field(140, ge=1)
    sample_tokens: int = Field(48, description="tokens of the samples written at each evaluation; 0 for none")
    on_not_finite: Literal["skip", "halt", "rollback"] = "skip"
    trackers: list[TrackerName] = []
    project: str = "penchant"


def _encode(
    documents: list[Document], tokenizer: Tokenizer, options: Options, threshold: float, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Documents as (ids, control mask), an end token on both sides, some control tokens left out."""
    found = []
    eos = np.array([tokenizer.eos_id], np.int32)
    for number, document in enumerate(documents):
        marks = labels(document, options.signal, threshold) if options.objective == "conditional" else None
        ids, control = encode_document(document, tokenizer, marks)
        if options.drop and marks is not None:
            stay = ~control | (stream(seed, "drop", number).random(len(ids)) >= options.drop)
            ids, control = ids[stay], control[stay]
        edge = np.zeros(1, bool)
        found.append((np.concatenate([eos, ids, eos]), np.concatenate([edge, control, edge])))
    return found


class HeldOut:
    """The loss on held-out windows and a few samples, at each evaluation."""

    def __init__(
        self,
        model: Decoder,
        tokenizer: Tokenizer,
        documents: list[Document],
        options: Options,
        context: StageContext,
        threshold: float,
        segment: str,
    ):
        self.segment = segment
        windows = windows_of(
            _encode(documents, tokenizer, options.model_copy(update={"drop": 0.0}), threshold, 0), options.context
        )
        order = stream(0, "heldout").permutation(len(windows))
        self.windows, content = [], 0
        for i in order:
            self.windows.append(windows[i])
            content += int(windows[i][1][1:].sum())
            if content >= options.eval_tokens:
                break
        if not self.windows:
            raise DataRejected("the validation split is empty", "give more documents, or a larger validation share")
        self.model, self.tokenizer, self.options, self.context = model, tokenizer, options, context
        self.bytes = sum(len(tokenizer.decode(ids[1:][keep[1:]].tolist()).encode()) for ids, keep in self.windows)

    def __call__(self, step: int) -> dict[str, float]:
        """`eval_loss` (nats a content token) and `bits_per_byte` of the held-out text."""
        import torch

        total, count = 0.0, 0
        with torch.no_grad():
            for a in range(0, len(self.windows), 64):
                part = self.windows[a : a + 64]
                batch = next_token_batch([w[0] for w in part], [w[1] for w in part])
                total -= float(quantities(self.model, batch, ("logprobs",))["logprobs"].double().sum())
                count += len(batch.labels)
        self.sample(step)
        return {"eval_loss": total / count, "bits_per_byte": total / math.log(2) / max(1, self.bytes)}

    def sample(self, step: int) -> None:
        """Write two samples from nothing to samples.jsonl."""
        if not self.options.sample_tokens:
            return
        tokenizer = self.tokenizer
        insert = None
        prompt = [tokenizer.eos_id]
        if self.options.objective == "conditional":
            prompt.append(tokenizer.control_ids["good"])
            insert = insertions(tokenizer, "good", self.segment)
        ban = [i for i in tokenizer.special_ids if i != tokenizer.eos_id]
        found = generate(
            self.model,
            [prompt] * 2,
            max_new_tokens=min(self.options.sample_tokens, self.options.context),
            end=[tokenizer.eos_id],
            temperature=0.7,
            ban=ban,
            insert=insert,
            seed=self.context.seed,
            first=step * 2,
        )
        append_json_lines(
            self.context.folder / "samples.jsonl",
            [{"step": step, "prompt": "", "text": tokenizer.decode(list(s.ids)), "reward": None} for s in found],
        )


def _config(options: Options, tokenizer: Tokenizer) -> DecoderConfig:
    return DecoderConfig(
        vocab_size=tokenizer.vocab_size,
        bos_token_id=tokenizer.eos_id,
        eos_token_id=tokenizer.eos_id,
        pad_token_id=tokenizer.pad_id,
        **options.model.model_dump(),
    )


def plan(options: Options, context: StageContext) -> dict[str, Any]:
    """What a run would take: parameters, tokens, memory and disk in bytes, seconds expected."""
    vocabulary = 2048
    config = DecoderConfig(vocab_size=vocabulary, **options.model.model_dump())
    parameters = config.parameters()
    tokens = options.steps * options.batch_size * options.context
    wide = options.micro_batch_size * options.context * config.hidden_size * config.num_hidden_layers * 60
    return {
        "parameters": parameters,
        "tokens": tokens,
        "memory": parameters * 18 + wide,
        "disk": 3 * parameters * 14,
        "seconds": 6 * parameters * tokens / 75e9 / max(1, context.threads),
    }


def run(options: Options, context: StageContext) -> dict[str, Any]:
    """Train in `context.folder`, going on from its newest checkpoint; publishes the best as `model/`.

    Inputs: `data` (a prepare folder) and `tokenizer` (a tokenizer folder).
    """
    set_threads(context.threads)
    data, tokenizer = context.inputs["data"], Tokenizer.load(context.inputs["tokenizer"])
    if tokenizer.pad_id == tokenizer.eos_id:
        raise InputError(
            "the pad token is the end token",
            "give the tokenizer a pad token of its own",
            file=context.inputs["tokenizer"],
        )
    summary = read_json(data / "summary.json")
    threshold = 0.0
    if options.objective == "conditional":
        threshold = resolve_threshold(options.threshold, summary, options.signal)
    device = device_name(options.device)
    model = (
        Decoder(_config(options, tokenizer)).initialise(context.seed).to(device, resolve_dtype(options.dtype, device))
    )
    documents = _encode(read_documents(data / "train.parquet"), tokenizer, options, threshold, context.seed)
    source = Corpus(
        windows_of(documents, options.context),
        options.batch_size * options.context,
        options.micro_batch_size,
        context.seed,
    )
    validation = read_documents(data / "validation.parquet")
    heldout = HeldOut(model, tokenizer, validation, options, context, threshold, summary.get("segment", "line"))
    objective = registry.load("objectives", "mle").build(None, Context(seed=context.seed))
    banned = tuple(i for i in tokenizer.special_ids if i != tokenizer.eos_id)
    recorder = StageRecorder(
        context,
        model,
        tokenizer.save,
        banned,
        best="eval_loss",
        hooks=hooks(options.trackers, context.folder, options.project, context.name, context.note),
    )
    the_plan = TrainingPlan(
        source, objective, options.steps, heldout, options.eval_steps, options.save_steps, options.on_not_finite
    )
    optimizer = Optimizer(model, options.optimizer, options.steps)
    skipped = train(model, optimizer, the_plan, recorder, console.report_progress)
    return {
        "parameters": model.config.parameters(),
        "dtype": str(model.dtype).removeprefix("torch."),
        "steps": options.steps,
        "best_step": recorder.publish(),
        "content_tokens": source.content,
        "epochs": round(source.epochs, 3),
        "best_eval_loss": recorder.best_value,
        "skipped_steps": skipped,
        "objective": options.objective,
        "threshold": threshold,
    }
