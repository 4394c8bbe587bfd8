"""Write docs/algorithms.md from the modules themselves: help, sources, equations and options. `make docs`.

Learning curves: `python docs/make_algorithms.py --curves` runs the toy task of tests/algorithms and keeps its figures
in docs/curves.json.
"""

from __future__ import annotations

import ast
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from penchant import registry
from penchant.contracts import Context

ROOT = Path(__file__).parent.parent
CURVES = ROOT / "docs" / "curves.json"
COMPARED = ROOT / "docs" / "compared.md"  # tables of `penchant compare`, kept by hand, put at the end of the page
GROUPS = {
    "Policy gradient": [
        "reinforce",
        "rloo",
        "minimum_risk",
        "grpo",
        "dr_grpo",
        "dapo",
        "gspo",
        "cispo",
        "expert_iteration",
    ],
    "Actor-critic": ["a2c", "ppo"],
    "Q-learning": ["q_learning", "dqn", "ilql"],
    "Preference optimisation": ["dpo", "ipo", "cdpo", "robust_dpo", "kto", "orpo", "simpo", "cpo", "online_dpo"],
    "Likelihood and reward models": ["sft", "reward_model", "process_reward_model"],
}
INTRO = """# Algorithms

What `penchant tune --algorithm NAME` can do; this page is made from the modules (`make docs`), and a test holds it to
them.

Which one? Where answers are given, SFT first: reinforcement learning is measured against it. Where pairs of answers
are judged, DPO. Where a program or a model can judge, GRPO. `penchant compare RECIPE --algorithms a,b` tells them
apart on your own task, at the same budget of policy tokens, or says that the difference is noise.

What every estimator of the first two groups computes in expectation is proved by enumeration: on a text world of 4
tokens and 3 steps, the expected gradient over all that could be sampled equals the exact one, or its documented
surrogate's (`tests/algorithms/test_expected_gradients.py`). Unbiased: REINFORCE, RLOO, the critics with lambda 1
(with exact values, any lambda). Dr. GRPO is it but for the factor (K - 1) / K. GRPO, DAPO, GSPO and CISPO lean from
it by dividing by deviations and lengths. k1 in the loss has a gradient of mean 0, k2 that of each state's KL, k3 that
of the KL the other way round.

Learning curves: the mean reward over the first, middle and last tenth of the steps on the tests' toy task (write
lower-case letters; a two-layer model of width 32; `python docs/make_algorithms.py --curves`), and the held-out reward
at the end.
"""


def page() -> str:
    """The text of the page."""
    curves: dict[str, Any] = json.loads(CURVES.read_text()) if CURVES.is_file() else {}
    out = [INTRO]
    known = [name for names in GROUPS.values() for name in names]
    extra = [name for name in registry.names("algorithms") if name not in known]
    for title, names in (GROUPS | ({"Others": extra} if extra else {})).items():
        out.append(f"## {title}\n")
        for name in names:
            out += _one(name, curves.get(name))
    if COMPARED.is_file():
        out.append(COMPARED.read_text(encoding="utf-8"))
    return "\n".join(out).rstrip() + "\n"


def _one(name: str, curve: dict[str, Any] | None) -> list[str]:
    module = registry.load("algorithms", name)
    doc = ast.get_docstring(ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))) or ""
    first, _, rest = doc.partition("\n")
    lines = [f"### {name}\n", first, ""]
    if rest.strip():
        lines += [rest.strip(), ""]
    objective = module.build(module.Options(), Context()).objective
    equation = _doc_of(type(objective).__module__)
    if equation:
        lines += ["Objective (`" + type(objective).__module__.rpartition(".")[2] + "`): " + equation, ""]
    source = getattr(module, "SOURCE", "rollouts")
    lines.append(f"Learns from: {source.replace('_', ' ')}.")
    if curve:
        reward = ", ".join(f"{x:.2f}" for x in curve["reward"])
        lines.append(f"Toy task: reward {reward}; held out {curve['held_out']:.2f} after {curve['steps']} steps.")
    lines += ["", "| option | default | what it is |", "|---|---|---|"]
    for key, field in module.Options.model_fields.items():
        lines.append(f"| `{key}` | `{field.default}` | {(field.description or '').replace('|', '/')} |")
    return [*lines, ""]


def _doc_of(module: str) -> str:
    text = Path(str(sys.modules[module].__file__)).read_text(encoding="utf-8")
    return " ".join((ast.get_docstring(ast.parse(text)) or "").split())


def curves() -> None:
    """Run the toy task for each algorithm of its table."""
    sys.path.insert(0, str(ROOT / "tests" / "algorithms"))
    import test_learning_curves
    import toy

    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        at = toy.folders(Path(place))
        for name, changes in test_learning_curves.TABLE.items():
            start = time.perf_counter()
            toy.tune(at, Path(place, name), name, **changes)
            rows = toy.rows(Path(place, name))
            reward = [row["reward"] for row in rows if "reward" in row]
            tenth = max(1, len(reward) // 10)
            middle = len(reward) // 2
            parts = (reward[:tenth], reward[middle : middle + tenth], reward[-tenth:])
            found[name] = {
                "reward": [round(sum(part) / len(part), 3) for part in parts],
                "held_out": round(rows[-1]["eval_reward"], 3),
                "steps": len(rows),
            }
            print(name, found[name], f"{time.perf_counter() - start:.0f} s")
    CURVES.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    if "--curves" in sys.argv:
        curves()
    (ROOT / "docs" / "algorithms.md").write_text(page(), encoding="utf-8")
