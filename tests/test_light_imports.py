"""What is loaded when: `import penchant` costs nothing, `--help` next to nothing, text and reports no tensors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import penchant

ROOT = Path(penchant.__file__).parent
HELP = {"penchant", "typer", "click", "annotated_doc", "shellingham", "typing_extensions", "rich", "colorama"}
NO_TENSORS = ("data", "text", "metrics", "reports", "signals", "tasks", "recipes")
SLOW = {"torch", "transformers", "tokenizers", "pyarrow", "matplotlib", "jinja2", "numpy"}
ASK = """
import atexit, json, sys
before = {name.split('.')[0] for name in sys.modules}
def tell():
    loaded = {name.split('.')[0] for name in sys.modules} - before
    print('LOADED', json.dumps(sorted(n for n in loaded if n not in sys.stdlib_module_names and n[0] != '_')))
atexit.register(tell)
"""


def loaded(code: str, *arguments: str) -> set[str]:
    """The third-party packages that a piece of code loads in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", ASK + code, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("LOADED")]
    assert lines, done.stderr
    return set(json.loads(lines[-1].removeprefix("LOADED")))


def test_import_loads_nothing():
    """`import penchant` loads no other package."""
    assert loaded("import penchant") == {"penchant"}


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_help_loads_an_allow_list(words):
    """`penchant --help` loads the command line's library alone."""
    found = loaded("from penchant.cli import main\nmain(sys.argv[1:])", *words)
    assert found <= HELP, sorted(found - HELP)


@pytest.mark.parametrize("command", ["run", "prepare", "generate", "list"])
def test_help_of_a_command_loads_no_tensors(command):
    """A command's help may load the checker of its options, and nothing that is slow."""
    assert not loaded("from penchant.cli import main\nmain(sys.argv[1:])", command, "--help") & SLOW


def test_text_rows_and_reports_load_without_torch():
    """Ground, data, text, metrics and reports know nothing of tensors, also when every module is loaded."""
    modules = [f"penchant.{p.stem}" for p in (ROOT / "contracts.py", ROOT / "options.py", ROOT / "console.py")]
    for room in NO_TENSORS:
        modules += [f"penchant.{room}.{p.stem}" for p in sorted((ROOT / room).glob("*.py")) if p.stem != "__init__"]
    found = loaded(f"import importlib\nfor name in {modules!r}: importlib.import_module(name)")
    assert not found & {"torch", "transformers", "tensorflow", "jax", "pandas"}


def test_the_ground_uses_the_standard_library_alone():
    """Errors, records, contracts, registry, files, console: nothing of others but NumPy (records hold arrays)."""
    names = ["errors", "records", "contracts", "registry", "files", "console"]
    found = loaded(f"import importlib\nfor name in {names!r}: importlib.import_module('penchant.' + name)")
    assert found <= {"penchant", "numpy"}


TRAIN = """
import sys
from pathlib import Path
import numpy as np
import torch
from penchant.data.pack import next_token_batch
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.load import load_model, save_model
from penchant.models.quantities import quantities
from penchant.sampling.engine import generate
from penchant.training.optimizer import Optimizer, OptimizerOptions

sizes = {"num_attention_heads": 2, "num_key_value_heads": 1}
config = DecoderConfig(40, hidden_size=16, intermediate_size=24, num_hidden_layers=1, **sizes)
save_model(Decoder(config).initialise(0), Path(sys.argv[1]))
for name in ("muon", "adamw", "adam", "sgd"):
    model = load_model(Path(sys.argv[1]))
    optimizer = Optimizer(model, OptimizerOptions(name=name), 2)
    for step in range(2):
        loss = -quantities(model, next_token_batch([np.arange(1, 30)]), ("logprobs",))["logprobs"].mean()
        loss.backward()
        optimizer.step(step, optimizer.gradients())
assert len(generate(model, [[1, 2, 3]], max_new_tokens=4)[0].ids) == 4
print("COMPILER", "torch._dynamo" in sys.modules, "sympy" in sys.modules)
"""


def test_training_and_sampling_load_no_compiler(tmp_path):
    """torch's compiler is two seconds and 70 MB of every process that loads it; on a CPU nobody needs it."""
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert "COMPILER False False" in done.stdout, done.stdout + done.stderr
