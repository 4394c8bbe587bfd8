"""Preferences of people as numbers: raters' labels to probabilities, and signals trained from labelled texts."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from penchant import console

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
command = typer.Typer(
    name="signal",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings=SETTINGS,
    help=(
        "Preferences of people as numbers: raters' labels to probabilities, signals trained from labels, and how well "
        "signals agree with people.\n\n\b\n"
        "Examples:\n  penchant signal raters labels.tsv.gz --truth truth.tsv.gz\n"
        "  penchant signal train reviews.jsonl --output signals/sentiment\n"
        "  penchant signal card sentiment reviews.jsonl --label stars"
    ),
)

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA", help="A file of votes: .jsonl, .csv, .tsv (also .gz) or .parquet.", show_default=False
    ),
]


@command.command(context_settings=SETTINGS)
def raters(
    data: Data,
    method: Annotated[
        str, typer.Option("--method", help="majority, dawid_skene, glad, mace or bradley_terry (or a FILE.py).")
    ] = "dawid_skene",
    options: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of the method.", show_default=False),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", metavar="FILE", help="Rows with their probability.", show_default=False)
    ] = None,
    item: Annotated[str | None, typer.Option("--item", help="Column of the item's name.")] = None,
    rater: Annotated[str | None, typer.Option("--rater", help="Column of the rater's name.")] = None,
    label: Annotated[str | None, typer.Option("--label", help="Column of the label.")] = None,
    votes: Annotated[
        str | None, typer.Option("--votes", help="Column of all of a row's votes: {rater: label}, or a list of them.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", metavar="A,B", help="One column a rater, instead.")
    ] = None,
    values: Annotated[
        str | None, typer.Option("--values", metavar="-1=1,0=0", help="Labels as they stand = what they count as.")
    ] = None,
    pair: Annotated[
        str | None, typer.Option("--pair", metavar="A,B", help="Columns of the two texts that a row compares.")
    ] = None,
    choices: Annotated[
        str | None,
        typer.Option("--choices", metavar="A,B[,TIE]", help="Labels for: the first is better, the second, neither."),
    ] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="Column that becomes `prompt` of a pair.")] = None,
    positive: Annotated[
        str | None, typer.Option("--positive", help="The label whose probability is given; else the likeliest's.")
    ] = None,
    truth: Annotated[
        str | None, typer.Option("--truth", metavar="FILE", help="Some items' true labels, to measure against.")
    ] = None,
    calibrate: Annotated[
        str | None, typer.Option("--calibrate", help="temperature or isotonic, by the --truth of half of those items.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of methods that begin by chance.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON on stdout.")] = False,
) -> None:
    """Several raters' labels to the probability of each, with the raters' reliability and agreement.

    DATA is a long table (item, rater, label), rows with all their votes (a column `annotations` or `judgements`), or
    rows with a column a rater. Of pairs (--pair) the rows written are prompt, chosen, rejected and probability, as
    `penchant tune --algorithm dpo` (or cdpo, reward_model) reads them; of texts, `penchant prepare` takes `probability`
    as the signal {name: column, column: probability}, and conditional training draws its tokens by it.

    \b
    Examples:
      penchant signal raters labels.tsv.gz --truth truth.tsv.gz
      penchant signal raters convabuse.jsonl --values -3=1,-2=1,-1=1,0=0,1=0 --positive 1 --output soft.jsonl
      penchant signal raters arguments.jsonl --pair a1,a2 --choices a1,a2,equal --prompt debate \\
        --method bradley_terry --output pairs.jsonl
    """
    from penchant.commands._raters import go
    from penchant.raters.read import Layout

    def several(text: str | None) -> tuple[str, ...]:
        return () if text is None else tuple(part.strip() for part in text.split(","))

    two: Any = several(pair) or None
    known = {said: counts_as for said, _, counts_as in (one.rpartition("=") for one in several(values))}
    layout = Layout(item, rater, label, votes, several(columns), known, two, several(choices))
    found = go(data, method, options or [], layout, output, prompt, positive, truth, calibrate, seed)
    if as_json:
        console.data(found)
        return
    from penchant.commands._raters import show

    show(found)


@command.command(context_settings=SETTINGS)
def train(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A file of texts and labels.", show_default=False)],
    output: Annotated[str, typer.Option("--output", metavar="DIR", help="The signal's folder.")] = "signals/trained",
    text: Annotated[str, typer.Option("--text", help="Column of the text, or several: A,B.")] = "text",
    label: Annotated[
        str, typer.Option("--label", help="Column of the label, or several: the first that a row has.")
    ] = "label",
    values: Annotated[
        str | None,
        typer.Option("--values", metavar="0=toxic,2=fine", help="Labels as they stand = what they count as."),
    ] = None,
    validation: Annotated[
        str | None, typer.Option("--validation", help="A file of its own; else cut from DATA.")
    ] = None,
    test: Annotated[str | None, typer.Option("--test", help="A file of its own; else cut from DATA.")] = None,
    also: Annotated[
        list[str] | None,
        typer.Option("--also", help="Another set to judge it on (repeat for more).", show_default=False),
    ] = None,
    soft: Annotated[
        bool, typer.Option("--soft/--hard", help="Learn from a column `probabilities` where rows have it.")
    ] = True,
    encoder: Annotated[
        str | None, typer.Option("--encoder", metavar="MODEL_DIR", help="Fine-tune this model.", show_default=False)
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Of --encoder: epochs, batch_size, learning_rate, max_length, seed, device.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON on stdout.")] = False,
) -> None:
    """Train a signal of your own from labelled texts, of any language, in seconds (--encoder: in minutes).

    A linear model of word and character n-grams; its penalty and temperature are chosen on validation, and accuracy,
    F1 and calibration measured on test. With --encoder a model (BERT and the like, or a decoder) is fine-tuned instead,
    with a head for the labels; stopped, the same command goes on. The folder has a card, and serves wherever a signal
    is named: {name: classifier, model: DIR, label: LABEL}.

    \b
    Examples:
      penchant signal train reviews.jsonl --output signals/sentiment
      penchant signal train tweets.jsonl --label majority --values 0=toxic,1=toxic,2=fine --also hatecheck.jsonl
      penchant signal train soft.jsonl --output signals/abuse      # rows that `signal raters` wrote
      penchant signal train reviews.jsonl --encoder models/minilm --set epochs=2
    """
    from penchant.commands._signal_train import encoder_options, show
    from penchant.stages._classifier import go

    known = {
        said: counts_as for said, _, counts_as in (one.rpartition("=") for one in (values or "").split(",") if one)
    }
    found = go(data, output, text, label, known, validation, test, also or [], soft, encoder_options(encoder, options))
    if as_json:
        console.data(found)
    else:
        show(found)


@command.command(context_settings=SETTINGS)
def card(
    signal: Annotated[str, typer.Argument(metavar="SIGNAL", help="Its name (`penchant list signals`) or a FILE.py.")],
    data: Annotated[str, typer.Argument(metavar="DATA", help="A file of texts and people's ratings.")],
    options: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of the signal.", show_default=False),
    ] = None,
    text: Annotated[str, typer.Option("--text", help="Column of the text, or several: A,B.")] = "text",
    label: Annotated[str, typer.Option("--label", help="Column of the rating.")] = "label",
    rater: Annotated[
        str | None, typer.Option("--rater", help="Column of the rater, where a text has a row for each (with --item).")
    ] = None,
    item: Annotated[
        str | None, typer.Option("--item", help="Column of the text's name, where it has several rows.")
    ] = None,
    votes: Annotated[
        str | None,
        typer.Option("--votes", help="Column of all of a row's ratings: {rater: rating}, or a list of them."),
    ] = None,
    values: Annotated[
        str | None, typer.Option("--values", metavar="0=bad,1=good", help="Ratings as they stand = what they count as.")
    ] = None,
    positive: Annotated[
        str | None, typer.Option("--positive", help="The label that shall score high; else ratings are numbers.")
    ] = None,
    texts: Annotated[int, typer.Option("--texts", min=2, help="At most so many, drawn by a hash.")] = 2000,
    output: Annotated[
        str | None,
        typer.Option("--output", metavar="DIR", help="Folder of card.json and README.md.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON on stdout.")] = False,
) -> None:
    """How well a signal agrees with people: of two texts that they rate differently, how often it has them in order.

    Beside it stand the ceiling (one rater against a text's others, where texts have several), what the length of the
    text alone would give, and chance. Any signal will do, built in, trained, or a file of your own.

    \b
    Examples:
      penchant signal card sentiment sst5.jsonl
      penchant signal card classifier convabuse.jsonl --set model=signals/toxic --set label=toxic --text user \\
        --votes annotations --values -3=1,-2=1,-1=1,0=0,1=0
      penchant signal card readability grades.csv --set measure=dale_chall --label grade --output cards/readability
      penchant signal card sentiment rated.tsv --item post --rater user --label stars
    """
    from penchant.commands._signal_card import go, show
    from penchant.raters.read import Layout

    known = {
        said: counts_as for said, _, counts_as in (one.rpartition("=") for one in (values or "").split(",") if one)
    }
    alone = rater is None and votes is None
    layout = Layout(item, rater, label, votes, (label,) if alone else (), known)
    found = go(signal, options or [], data, text, layout, positive, texts, output)
    if as_json:
        console.data(found)
    else:
        show(found, output)
