"""What cannot work is refused before anything runs: exit 2, and a line that names key, value and mend."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

from penchant import cli, registry
from penchant.runs.recipe import load_recipe

REFUSED = [  # what is given, what is said of it, and the mend
    ("prepare.fractions=[0.9,0.2,0.2]", "'prepare.fractions' is [0.9, 0.2, 0.2]", "three shares, none negative"),
    ("prepare.near_duplicates=0", "'prepare.near_duplicates' is 0", "greater than 0"),
    ("prepare.max_reject_rate=2", "'prepare.max_reject_rate' is 2", "less than or equal to 1"),
    ("prepare.language=english", "'prepare.language' is 'english'", "pattern"),
    ("prepare.segment=word", "'prepare.segment' is 'word'", "'line', 'sentence' or 'document'"),
    ("prepare.workers=0", "'prepare.workers' is 0", "greater than or equal to 1"),
    ("prepare.signals=[styl]", "'prepare.signals' is ['styl']", "did you mean 'style'?"),
    ("prepare.signals=[{as: x}]", "'prepare.signals' is [{'as': 'x'}]", "it needs a name"),
    ("prepare.signals=[style, style]", "'prepare.signals' is ['style', 'style']", "another name with `as`"),
    ("prepare.signals=[{name: style, quotes: no}]", "'prepare.signals'", "signal style: option quotes"),
    ("prepare.path=nowhere", "nowhere: no such file or folder", "check the path"),
    ("tokenizer.vocab_size=10", "'tokenizer.vocab_size' is 10", "greater than or equal to 260"),
    ("mle.steps=0", "'mle.steps' is 0", "greater than or equal to 1"),
    ("mle.batch_size=0", "'mle.batch_size' is 0", "greater than or equal to 1"),
    ("mle.context=600", "'mle.context' is 600", "the model has 512 positions"),
    ("mle.model.max_position_embeddings=32", "'mle.context' is 64", "the model has 32 positions"),
    ("mle.model.hidden_size=0", "'mle.model.hidden_size' is 0", "greater than or equal to 1"),
    ("mle.model.num_attention_heads=3", "'mle.model' is", "choose hidden_size as a multiple of the heads"),
    ("mle.device=foo", "'mle.device' is 'foo'", "choose auto, cpu, cuda"),
    ("mle.dtype=float16", "'mle.dtype' is 'float16'", "'auto', 'bfloat16' or 'float32'"),
    ("mle.objective=mel", "'mle.objective' is 'mel'", "did you mean 'mle'?"),
    ("mle.objective=policy_gradient", "'mle.objective' is 'policy_gradient'", "which a corpus does not give"),
    ("mle.objective={drop: 0.5}", "'mle.objective' is {'drop': 0.5}", "needs a name"),
    ("mle.optimizer.learning_rate=-1", "'mle.optimizer.learning_rate' is -1", "greater than or equal to 0"),
    ("mle.optimizer.warmup=1.5", "'mle.optimizer.warmup' is 1.5", "less than or equal to 1"),
    ("mle.optimizer.momentum=1", "'mle.optimizer.momentum' is 1", "less than 1"),
    ("mle.optimizer.betas=[0.9, 1.0]", "'mle.optimizer.betas.1' is 1.0", "less than 1"),
    ("mle.optimizer.weight_decay=-0.1", "'mle.optimizer.weight_decay' is -0.1", "greater than or equal to 0"),
    ("mle.optimizer.max_grad_norm=-1", "'mle.optimizer.max_grad_norm' is -1", "greater than or equal to 0"),
    ("mle.optimizer.schedule=linaer", "'mle.optimizer.schedule' is 'linaer'", "did you mean 'linear'?"),
    ("mle.optimizer.learning_rate=.inf", "mle.optimizer.learning_rate", "give a finite number"),
    ("mle.trackers=[tensorbord]", "'mle.trackers.0' is 'tensorbord'", "did you mean 'tensorboard'?"),
    ("mle.sample_tokens=-1", "'mle.sample_tokens' is -1", "greater than or equal to 0"),
    ("mle.inputs.dta=prepare", "stage 'mle' takes no input 'dta'", "did you mean 'data'?"),
    ("conditional.signal=taste", "'conditional.signal' is 'taste'", "the data have the signals style"),
    ("conditional.threshold=q33", "'conditional.threshold' is 'q33'", "give a number, median, or one of q0.01"),
    ("conditional.threshold=high", "'conditional.threshold' is 'high'", "give a number, median"),
    ("conditional.drop=2", "'conditional.drop' is 2", "less than or equal to 1"),
    ("tuned.ask=great", "'tuned.ask' is 'great'", "ask for good or bad, or null"),
    ("tuned.inputs.model=mle", "'tuned.ask' is 'good'", "the model is trained without any"),
    ("tuned.batch_size=6", "'tuned.batch_size' is 6", "make it a multiple of num_generations (4)"),
    ("tuned.num_generations=3", "'tuned.batch_size' is 8", "make it a multiple of num_generations (3)"),
    ("tuned.temperature=0", "'tuned.temperature' is 0", "greater than 0"),
    ("tuned.max_clipped_ratio=2", "'tuned.max_clipped_ratio' is 2", "less than or equal to 1"),
    ("tuned.max_completion_length=900", "'tuned.max_completion_length' is 900", "it passes the model's 512 positions"),
    ("tuned.algorithm=grop", "'tuned.algorithm' is 'grop'", "did you mean 'grpo'?"),
    ("tuned.algorithm_options={beta: -1}", "'tuned.algorithm_options' is {'beta': -1}", "option beta"),
    ("tuned.task={name: continuatio}", "'tuned.task' is", "did you mean 'continuation'?"),
    ("tuned.task={name: continuation, signal: {name: sentimen}}", "'tuned.task' is", "did you mean 'sentiment'?"),
    ("tuned.task={name: function_body, style: {quotes: x}}", "'tuned.task' is", "option style.quotes"),
    ("tuned.task.cost=3", "'tuned.task' is {'cost': 3}", "it needs a name"),
    ("tuned.rewards=[]", "'tuned.rewards' is []", "give one or more"),
    ("tuned.rewards=[{name: lenght}]", "'tuned.rewards' is", "did you mean 'length'?"),
    ("tuned.rewards=[{name: task, weight: much}]", "'tuned.rewards' is", "a weight is a number, not 'much'"),
    ("tuned.rewards=[{name: signal, signal: styl}]", "'tuned.rewards' is", "did you mean 'style'?"),
    ("tuned.rewards=[{name: ./none.py}]", "'tuned.rewards' is", "none.py: no such file"),
    ("evaluate.models={}", "'evaluate.models' is {}", "name at least one row"),
    ("evaluate.models.real.model=mle", "'evaluate.models' is", "none `real`"),
    ("evaluate.models.mle.model=nix", "'evaluate.models.mle.model' is 'nix'", "there are mle, conditional, tuned"),
    ("evaluate.models.mle.ask=good", "'evaluate.models.mle.ask' is 'good'", "trained without any"),
    ("evaluate.models.tuned.ask=great", "'evaluate.models.tuned.ask' is 'great'", "ask for good or bad"),
    ("evaluate.best_of.x={of: y}", "'evaluate.best_of.x.of' is 'y'", "take a row of models"),
    ("evaluate.temperatures=[-1]", "'evaluate.temperatures.0' is -1", "greater than or equal to 0"),
    ("evaluate.temperatures=[1, 1.0]", "'evaluate.temperatures' is [1.0, 1.0]", "give each once"),
    ("evaluate.max_new_tokens=900", "'evaluate.max_new_tokens' is 900", "it passes the model's 512 positions"),
    ("evaluate.primary=beauty", "'evaluate.primary' is 'beauty'", "reward"),
    ("report.samples=1000", "'report.samples' is 1000", "less than or equal to 100"),
    ("seed=-1", "'seed' is -1", "whole number"),
]


@pytest.mark.parametrize(("given", "said", "mend"), REFUSED, ids=[given for given, _, _ in REFUSED])
def test_a_value_that_cannot_work_is_refused(
    given: str, said: str, mend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--dry-run"], []):
        if words == [] and given == "prepare.path=nowhere":
            continue  # a run looks at the files itself
        with pytest.raises(SystemExit) as leave:
            cli.main(["run", "smoke", given, *words])
        assert leave.value.code == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert len(err.splitlines()) == 1
        assert err.startswith("penchant: ")
        assert said in err
        assert mend in err
        assert "Value error" not in err
    assert os.listdir() == []


def test_an_own_file_that_cannot_be_loaded_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.py").write_text("import nothing_like_it\n")
    with pytest.raises(SystemExit):
        cli.main(["run", "smoke", "tuned.rewards=[{name: ./mine.py}]", "--dry-run"])
    err = capsys.readouterr().err
    assert "mine.py cannot be loaded: ModuleNotFoundError: No module named 'nothing_like_it'" in err
    assert len(err.splitlines()) == 1


def test_an_input_that_is_missing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text("# mine\nstages:\n  a: {kind: prepare}\n  b: {kind: tokenizer}\n")
    with pytest.raises(SystemExit):
        cli.main(["run", "mine.yaml"])
    assert capsys.readouterr().err == "penchant: mine.yaml: stage 'b' has no input 'data'; give inputs: {data: STAGE}\n"


@pytest.mark.parametrize("recipe", registry.names("recipes"))
def test_recipes_are_not_refused(recipe: str) -> None:
    load_recipe(recipe, environment={})


def test_what_is_given_for_a_folder_is_looked_up_there(tmp_path: Path) -> None:
    """Nothing is known of a folder that holds neither a model nor data: that is left to the stage."""
    (tmp_path / "empty").mkdir()
    where = tmp_path / "empty"
    load_recipe("smoke", [f"tuned.inputs.model={where}", f"tuned.inputs.data={where}", "tuned.ask=x"], environment={})


def numbers(options: type[BaseModel]) -> Iterator[tuple[type[BaseModel], str]]:
    """Each number among options and the models in them."""
    for key, field in options.model_fields.items():
        parts = {field.annotation, *get_args(field.annotation)}
        for part in parts:
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from numbers(part)
        if parts & {int, float}:
            yield options, key


KINDS = ("stages", "signals", "tasks", "rewards", "algorithms", "objectives", "metrics")
NUMBERS = [
    (f"{kind}/{name}.{key}", model, key)
    for kind in KINDS
    for name in registry.names(kind)
    for model, key in numbers(getattr(registry.load(kind, name), "Options", BaseModel))
]
SIGNED = {"threshold", "otherwise", "low", "high", "least", "pass_reward"}  # scores, which may have any sign


@pytest.mark.parametrize(("model", "key"), [n[1:] for n in NUMBERS], ids=[n[0] for n in NUMBERS])
def test_every_number_has_a_bound(model: type[BaseModel], key: str) -> None:
    """A rate, a share or a size below 0 is refused wherever it stands."""
    if key in SIGNED:
        return
    with pytest.raises(ValidationError) as refused:
        model(**{key: -1})
    assert key in {error["loc"][0] for error in refused.value.errors()}
