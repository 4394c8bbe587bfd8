"""Write the folders that speed is measured on: Llama shapes, random weights, a tokenizer of 8,192 tokens, some lines.

    python benchmarks/models.py OUT [--text FILE]

Makes OUT/m30 (28 M parameters) and OUT/m135 (111 M), with `bench_lines.txt` in each: the lines that the works of
`penchant bench` and `benchmarks/peer.py` are made of. Without --text they are this Python's own standard library.
"""

from __future__ import annotations

import argparse
import sysconfig
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SHAPES = {
    "m30": {"hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 4,
            "intermediate_size": 1408},
    "m135": {"hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
             "intermediate_size": 1536},
}  # fmt: skip


def lines_of(path: Path | None) -> list[str]:
    """The text's lines, blank ones left out."""
    if path is not None:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    return [
        line for f in files for line in f.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
    ]


def main() -> None:
    """Make the folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--text", type=Path)
    a = parser.parse_args()
    lines = lines_of(a.text)
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend.train_from_iterator(
        (line + "\n" for line in lines),
        trainers.BpeTrainer(vocab_size=8192, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    for name, shape in SHAPES.items():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=8192, max_position_embeddings=1024, tie_word_embeddings=True, pad_token_id=0, bos_token_id=1,
            eos_token_id=2, **shape,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(a.out / name)
        tokenizer.save_pretrained(a.out / name)
        (a.out / name / "bench_lines.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
