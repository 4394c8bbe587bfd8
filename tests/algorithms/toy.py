"""A toy text task that every algorithm must solve: write lower-case letters, through the real stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from penchant.contracts import StageContext
from penchant.data.store import write_documents
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.load import save_model
from penchant.records import Document
from penchant.stages.tune import Options, run
from penchant.text.tokenizer import Tokenizer

__all__ = ["SETTINGS", "folders", "lower", "rows", "tune"]

LINES = [f"def f{i}(x):\n    return x\n\n\n" for i in range(40)]
# Rates were chosen on seed 1; the tests run seed 0.
SETTINGS: dict[str, Any] = {
    "steps": 60, "batch_size": 64, "num_generations": 8, "prompt_tokens": 24, "max_completion_length": 6,
    "temperature": 1.0, "ask": None, "rewards": [{"name": "lower"}], "combine": "sum", "max_clipped_ratio": 1.0,
    "eval_steps": 20, "eval_prompts": 32, "save_steps": 20, "dtype": "float32",
    "optimizer": {"name": "adamw", "learning_rate": 1e-2, "schedule": "constant", "weight_decay": 0.0},
}  # fmt: skip


def lower(prompts, completions, **columns):
    """The share of characters that are lower-case letters; an end at once earns nothing."""
    return [sum(c.islower() and c.isascii() for c in text) / max(1, len(text)) for text in completions]


def folders(root: Path) -> Path:
    """A model's folder and a prepared one in the same place."""
    text = "".join(LINES)
    tokenizer = Tokenizer.train([text], 280)
    ids = {"bos_token_id": tokenizer.eos_id, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
             "num_key_value_heads": 2, "max_position_embeddings": 64}  # fmt: skip
    config = DecoderConfig(vocab_size=tokenizer.vocab_size, initializer_range=0.05, **sizes, **ids)
    (root / "model").mkdir()
    save_model(Decoder(config).initialise(0), root / "model", tuple(tokenizer.control_ids.values()))
    tokenizer.save(root / "model")
    for part, split in enumerate(("train", "validation")):
        documents = []
        for i, line in enumerate(LINES[part::2]):
            ends = tuple(np.flatnonzero([c == "\n" for c in line]) + 1)
            documents.append(Document(f"{i}.py", line, ends, {"style": tuple(0.0 for _ in ends)}))
        write_documents(root / f"{split}.parquet", documents)
    (root / "summary.json").write_text(json.dumps({"signals": {"style": {"quantiles": {"0.5": 0.0}}}}))
    return root


def tune(at: Path, folder: Path, algorithm: str, seed: int = 0, stop=lambda: 0, **changes: Any) -> dict[str, Any]:
    """Run the stage; `rewards` entries named `lower` are the function."""
    folder.mkdir(exist_ok=True)
    settings = {**SETTINGS, "algorithm": algorithm, **changes}
    settings["rewards"] = [{**r, "call": lower} if r["name"] == "lower" else r for r in settings["rewards"]]
    inputs = {"model": at / "model", "data": at}
    return run(Options(**settings), StageContext("tuned", folder, inputs, seed, 1, stop, lambda text: None))


def rows(folder: Path) -> list[dict[str, Any]]:
    """The logged metrics, times left out."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.endswith("seconds") and k != "tokens_per_second"} for row in found]
