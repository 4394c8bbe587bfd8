"""The page's sentences: what was done, the few figures at the top, what the run does not show, how to repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penchant.reports.gather import Material
from penchant.reports.rows import change, duration, number, row_label, row_style, title
from penchant.reports.tables import start_of

__all__ = ["reproduce", "tiles", "what_it_does_not_show", "what_was_done"]

_STYLE = "violations_per_line"


def tiles(found: Mapping[str, Any], main: str | None) -> list[dict[str, str]]:
    """Up to four figures that sum the run up: the main measure, the reward, what was wanted, the time."""
    models, made = found["models"], []
    for measure, row in ((main, "conditional"), ("reward", "tuned")):
        figures = models.get(row) or {}
        start = start_of(row, models)
        if measure is None or start is None or (figures.get(measure) or {}).get("value") is None:
            continue
        before, after = (models[start].get(measure) or {}).get("value"), figures[measure]["value"]
        made.append(
            {
                "name": title(measure),
                "figure": f"{number(before)} → {number(after)}",
                "note": ": ".join(
                    filter(None, (change(before, after), f"{row_label(row)} against {row_label(start)}"))
                ),
                "style": row_style(row),
            }
        )
    judged = [item for item in found["wanted"] if item["met"] is not None]
    if judged:
        met = sum(bool(item["met"]) for item in judged)
        note = "every one of them" if met == len(judged) else f"{len(judged) - met} missed, see below"
        made.append({"name": "Wanted and met", "figure": f"{met} of {len(judged)}", "note": note, "style": ""})
    total = found["wall_seconds"].get("total")
    if total is not None:
        made.append({"name": "Wall time", "figure": duration(total), "note": "from raw files to here", "style": ""})
    return made


def what_was_done(material: Material, found: Mapping[str, Any], main: str | None) -> list[str]:
    """One paragraph a stage that there is."""
    paragraphs = [_prepared(found["data"])] if found["data"] else []
    for role, stage in material.training.items():
        figures = found["training"][role]
        size = f"{number(int(figures['steps']))} steps" if figures.get("steps") else ""
        tokens = figures.get("content_tokens") or figures.get("tokens")
        if stage.tuning:
            paragraphs.append(
                f"{row_label(role)}: the model wrote completions for prompts from training files, each was scored, and "
                f"it learned from the differences ({size or 'reinforcement learning'}), held near its start by the KL "
                "divergence."
            )
        else:
            told = "; a token before each segment says whether it is good or bad" if role == "conditional" else ""
            amount = ", ".join(part for part in (size, f"{number(int(tokens))} tokens" if tokens else "") if part)
            paragraphs.append(f"{row_label(role).partition(',')[0]}: pretrained from scratch ({amount}){told}.")
    if found["models"]:
        settings = found["settings"]["evaluation"]
        heat = settings.get("temperature", settings.get("temperatures"))
        heat = heat[0] if isinstance(heat, list) and heat else heat
        warmth = f" at temperature {heat:g}" if isinstance(heat, int | float) else ""
        paragraphs.append(
            f"Then each model wrote completions{warmth} for the same prompts, taken from test files that nothing was "
            "trained or chosen on. Intervals are 95 % bootstrap intervals that draw whole source files, since lines of "
            "one file are alike."
        )
    if main == _STYLE:
        paragraphs.insert(
            min(1, len(paragraphs)),
            "The preference is a house style: the default rules of pycodestyle (PEP 8), and that every function says "
            "what it does in a docstring; a missing one counts once, on the line of its def.",
        )
    return paragraphs


def _prepared(data: Mapping[str, Any]) -> str:
    counts, segments = data.get("documents") or {}, data.get("segments") or {}
    cut = sum(v for k, v in segments.items() if k in ("train", "validation", "test") and isinstance(v, int))
    signals = ", ".join(data.get("signals") or {})
    parts = [f"{number(counts.get('read'))} documents were read and {number(counts.get('kept'))} kept"]
    if cut:
        parts.append(f"cut into {number(cut)} segments")
    if signals:
        parts.append(f"each segment scored by {signals}")
    split = [f"{number(counts[name])} {name}" for name in ("train", "validation", "test") if name in counts]
    return ", ".join(parts) + (f"; split by file into {', '.join(split)}." if split else ".")


def what_it_does_not_show(found: Mapping[str, Any], main: str | None) -> list[tuple[str, str]]:
    """Heading and sentence of each limit, with the run's own figures where it has them."""
    models = found["models"]
    limits = [
        (
            "Meaning.",
            "A model this small writes text that has the form of its kind and means nothing. The measures "
            "look at form alone"
            + _beside(models, "; the reward of tuned text ({tuned}) and of real text ({real}) is no sign that it works")
            + ".",
        )
    ]
    hot = _hot(models, main)
    if hot:
        limits.append(("Temperature 1.", hot))
    if main == _STYLE:
        limits.append(
            (
                "PEP 8 alone.",
                "Much of the gain can be the docstring; the table without that rule stands above. Where sources keep "
                "PEP 8 on most of their lines, a plain model does too.",
            )
        )
    left_out = ((found["settings"]["evaluation"] or {}).get("held_out") or {}).get("perplexity_left_out")
    if left_out:
        limits.append(("Perplexity by token.", f"{left_out[:1].upper()}{left_out[1:]}."))
    elif any("perplexity" in row for row in models.values()):
        limits.append(
            (
                "Perplexity between models.",
                "It differs between training seeds by more than between ways of training; compare it only with a "
                "model's own start.",
            )
        )
    limits.append(("One seed.", "Another seed moves every figure; the intervals cover the test files, not the seeds."))
    return limits


def _hot(models: Mapping[str, Any], main: str | None) -> str:
    values = [((models.get(row) or {}).get(main) or {}).get("value") for row in ("mle_t1", "conditional_t1")]
    if main is None or None in values:
        return ""
    cool = [((models.get(row) or {}).get(main) or {}).get("value") for row in ("mle", "conditional")]
    beside = f" (at the lower temperature {change(*cool)})" if None not in cool else ""
    skill = "Sampled as it is, a small model errs more for want of skill than of manners. " if main == _STYLE else ""
    return (
        f"{skill}{title(main)} there: {number(values[0])} plain, {number(values[1])} conditional, "
        f"{change(*values)}{beside}."
    )


def _beside(models: Mapping[str, Any], sentence: str) -> str:
    values = {row: ((models.get(row) or {}).get("reward") or {}).get("value") for row in ("tuned", "real")}
    return "" if None in values.values() else sentence.format(**{row: number(v) for row, v in values.items()})


def reproduce(material: Material) -> dict[str, Any]:
    """The command, and the facts that the same figures depend on."""
    recipe, environment = material.recipe, material.environment
    command = recipe.get("command") or environment.get("command")
    if isinstance(command, list):
        command = " ".join(map(str, command))
    if not command and recipe.get("name"):
        command = f"penchant run {recipe['name']}" + (f" seed={recipe['seed']}" if "seed" in recipe else "")
    facts: dict[str, str] = {}
    if "seed" in recipe:
        facts["seed"] = str(recipe["seed"])
    for key, value in environment.items():
        if isinstance(value, dict):
            facts |= {f"{key}: {name}": str(item) for name, item in value.items() if not isinstance(item, dict | list)}
        elif key != "command" and not isinstance(value, list) and value is not None:
            facts[key.replace("_", " ")] = str(value)
    if material.data.get("data_hash"):
        facts["data (SHA-256)"] = str(material.data["data_hash"])
    return {"command": command or "", "facts": facts}
