"""The page: what was done, what came of it, and what it does not show, in plain words, tables and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penchant.files import whole
from penchant.reports import plots, story, tables
from penchant.reports.gather import Material
from penchant.reports.rows import change, duration, number, primary, row_label, row_style, text_cost, title
from penchant.reports.samples import choose, marks_by_code

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

__all__ = ["environment", "page"]

_TEMPLATES = Path(__file__).parent / "templates"
_CURVES = (
    (("loss", "eval_loss"), "Loss (nats a token)", False),
    (("bits_per_byte", ""), "Bits a byte, held out", False),
    (("reward", "eval_reward"), "Reward while tuning", True),
    (("kl", ""), "KL to the start (nats a token)", True),
    (("entropy", ""), "Entropy (nats a token)", True),
    (("completions/mean_length", ""), "Tokens a completion", True),
)


def page(
    material: Material, found: Mapping[str, Any], *, title: str, samples: int, prompt_lines: int
) -> Callable[[Mapping[str, Any]], str]:
    """Draw everything but the times, and return what makes the page of the final figures."""
    main = primary(found["measures"] or _bare(found["models"]), found["settings"]["evaluation"])
    code_rows, codes = marks_by_code(material.samples, main)
    drawn = {
        "title": title,
        "main": main,
        "cost": text_cost(found["models"]),
        "pictures": pictures(material, main),
        "rollouts": {role: stage.rollouts for role, stage in material.training.items() if stage.rollouts},
        "comparisons": choose(material.samples, samples, prompt_lines, main),
        "codes": {"rows": code_rows, "found": codes, "by_line": bool(main and main.endswith("_per_line"))},
        "recipe": json.dumps(found["settings"]["recipe"], indent=2, ensure_ascii=False)[:20_000],
    }
    template = environment().get_template("page.html.j2")

    def render(final: Mapping[str, Any]) -> str:
        text = template.render(
            **drawn,
            found=final,
            tiles=story.tiles(final, main),
            done=story.what_was_done(material, final, main),
            limits=story.what_it_does_not_show(final, main),
            headline=tables.headline(final, hot=False),
            headline_hot=tables.headline(final, hot=True),
            aside=tables.headline(final, hot=False, aside=True),
            wanted=tables.wanted(final),
            style_alone=tables.style_alone(final),
            times=tables.times(material.timing, final["wall_seconds"]),
            reproduce=story.reproduce(material),
        )
        return whole(text)  # a sample may hold half a surrogate pair

    return render


def pictures(material: Material, main: str | None) -> dict[str, Any]:
    """Every picture as safe markup, by where it stands on the page; those with nothing to show left out."""
    from markupsafe import Markup

    models, measures = material.models, material.evaluation.get("measures") or _bare(material.models)
    tuned = {role: stage for role, stage in material.training.items() if stage.tuning}
    plain = {role: stage for role, stage in material.training.items() if not stage.tuning}
    curves = [
        plots.learning(tuned if tuning else plain, metrics, heading, f"curve{i}")
        for i, (metrics, heading, tuning) in enumerate(_CURVES)
    ]
    curves.append(plots.against(tuned, "kl", "reward", "against"))
    compared = [
        plots.comparison(models, name, str(measure.get("better", "")), f"compare{i}")
        for i, (name, measure) in enumerate(measures.items())
        if name not in tables.ASIDE or name.startswith("pep8")
    ]
    frontier = plots.frontier(models, text_cost(models), main, "frontier") if main else None
    spread = [
        plots.scores(values, f"{title(name)}: {len(values):,} segments of the training split", f"scores{i}")
        for i, (name, values) in enumerate(material.scores.items())
    ]
    return {
        "curves": [Markup(p) for p in curves if p],
        "compared": [Markup(p) for p in compared if p],
        "frontier": Markup(frontier) if frontier else "",
        "scores": [Markup(p) for p in spread if p],
    }


def _bare(models: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Measures of an evaluation that did not describe them."""
    return {name: {"help": "", "better": ""} for row in models.values() for name in row}


def environment() -> SandboxedEnvironment:
    """Templates, with everything escaped that is not marked as safe."""
    from jinja2 import FileSystemLoader, StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    made = SandboxedEnvironment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": number,
        "duration": duration,
        "row": row_label,
        "row_style": row_style,
        "words": title,
        "change": lambda pair: change(*pair),
    }
    return made
