"""The work of the stage `pretrain`: encode, train, evaluate on the way, publish."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penchant import console
from penchant.batches.corpus import Corpus, Pack, encode, encoded, next_tokens, plain
from penchant.batches.forcing import Forced
from penchant.batches.noise import MASK, SENTINELS, Denoise, Mask, sentinel
from penchant.contracts import Context, Objective, StageContext
from penchant.data.shards import Shards, Windows
from penchant.data.store import each_document
from penchant.errors import DataRejected, InputError
from penchant.files import read_json, write_json
from penchant.models.architectures import from_shape
from penchant.models.config import DecoderConfig
from penchant.models.decoder import Decoder
from penchant.models.heads import add_heads
from penchant.models.load import load_model, load_tokenizer
from penchant.models.names import decoder_start
from penchant.models.widen import widened
from penchant.plugins import checked, plug
from penchant.records import Encoded
from penchant.runs.recorder import StageRecorder
from penchant.runtime.mesh import Mesh
from penchant.runtime.precision import resolve_dtype
from penchant.stages._heldout import HeldOut
from penchant.stages._preflight import marked
from penchant.text.conditioning import Conditioning, agreement, segment_closers
from penchant.text.control import BAD, GOOD
from penchant.text.profile import Attribute, known_values
from penchant.text.tokenizer import Tokenizer, control_text
from penchant.training.loop import TrainingPlan, train
from penchant.training.optimizer import Optimizer
from penchant.training.size import rows_at_once
from penchant.training.trackers import hooks

if TYPE_CHECKING:
    from penchant.stages.pretrain import Options

__all__ = ["preflight", "pretrain"]


LOOKED_AT = 200  # documents that a preflight encodes

# Options of the stage that an objective which has them too takes over, unless its own entry says otherwise.
_SHARED = ("signal", "threshold", "drop")


def _objective(options: Options, context: Context) -> tuple[str, Objective]:
    """The objective and its name."""
    own = options.objective if isinstance(options.objective, dict) else {"name": options.objective}
    module, _ = checked("objectives", own)
    known = module.Options.model_fields if hasattr(module, "Options") else {}
    objective = plug("objectives", {**{k: getattr(options, k) for k in _SHARED if k in known}, **own}, context)
    return own["name"], objective


def _check_columns(name: str, objective: Objective, encoded: Sequence[Encoded]) -> None:
    there = encoded[0].columns if encoded else {}
    if missing := [column for column in getattr(objective, "needs", ()) if column not in there]:
        raise InputError(
            f"objective {name} needs {', '.join(missing)}, which a corpus does not give",
            "take another (see `penchant list objectives`), or give it a transform that makes them",
        )


def _config(options: Options, tokenizer: Tokenizer) -> DecoderConfig:
    return DecoderConfig(
        vocab_size=tokenizer.vocab_size,
        bos_token_id=tokenizer.eos_id,
        eos_token_id=tokenizer.eos_id,
        pad_token_id=tokenizer.pad_id,
        **options.model.model_dump(),
    )


def _layout(
    objective: Objective, options: Options, data: Path, summary: Mapping[str, Any], tokenizer: Tokenizer
) -> Conditioning:
    """What is kept beside the model: control tokens, what they lead, and how a sampler can tell where that begins."""
    segment, languages = summary.get("segment", "line"), summary.get("languages") or {"en": 1}
    language = max(languages, key=lambda name: languages[name])
    control = tuple(getattr(objective, "control", ()))
    if not control:
        profile = tuple(getattr(objective, "profile", ()))
        return Conditioning((), segment, language, context=options.context, profile=profile)
    after = segment_closers(each_document(data / "train.parquet"), tokenizer, segment)
    agrees = None
    if segment == "sentence":
        agrees = agreement(each_document(data / "validation.parquet"), tokenizer, after)
    bins = getattr(objective, "bins", None)
    return Conditioning(control, segment, language, after, agrees, options.context, bins=bins)


def _encoded(
    name: str, objective: Objective, tokenizer: Tokenizer, data: Path, context: StageContext, folder: Path
) -> tuple[Shards, Shards]:
    """The documents of train and validation as the objective sees them, in files under `folder`."""
    transform = getattr(objective, "transform", None) or plain(tokenizer)
    made = []
    for part in ("train", "validation"):
        documents = each_document(data / f"{part}.parquet")
        made.append(Shards.made(folder / part, encoded(documents, tokenizer, transform, part == "validation")))
    _check_columns(name, objective, made[0][:1])
    if left_out := made[0].read - len(made[0]):
        context.note(f"{context.name}: objective {name} leaves out {left_out} of {made[0].read} documents")
    return made[0], made[1]


def _seeded(options: Options, context: StageContext) -> StageContext:
    return context if options.seed is None else dataclasses.replace(context, seed=options.seed)


def _start(options: Options, context: StageContext, data: Mapping[str, Any]) -> tuple[Tokenizer, str, Objective, Any]:
    """Tokenizer, objective with its name, and the folder of an existing model to begin from, or None.

    Raises:
        InputError: the tokenizer lacks a control token, or pads with its end token.
    """
    folder = context.inputs.get("base")
    if folder is None:
        tokenizer = Tokenizer.load(context.inputs["tokenizer"])
        if options.architecture in ("bert", "bart", "recurrent"):
            tokenizer = tokenizer.with_control((MASK,))
        elif options.architecture == "t5":
            tokenizer = tokenizer.with_control([sentinel(n) for n in range(SENTINELS)])
    else:
        folder = folder / "model" if (folder / "model").is_dir() else folder
        tokenizer = load_tokenizer(folder)
        tokenizer = tokenizer.with_control((GOOD, BAD))
        tokenizer = tokenizer.with_control(_profile_tokens(options, context.inputs["data"]))
    if tokenizer.pad_id == tokenizer.eos_id:
        raise InputError(
            "the pad token is the end token",
            "give the tokenizer a pad token of its own",
            file=context.inputs["tokenizer"],
        )
    # Once to hear which tokens it teaches, and once with them.
    own = getattr(_objective(options, Context(context.seed, data=data))[1], "control", ())
    tokenizer = tokenizer.with_control(own) if own else tokenizer
    name, objective = _objective(options, Context(context.seed, tokenizer, data=data))
    return tokenizer, name, objective, folder


def _profile_tokens(options: Options, data: Path) -> list[str]:
    """Control tokens of the authors' profiles that the objective names, as the tokenizer stage makes them."""
    own: Mapping[str, Any] = options.objective if isinstance(options.objective, dict) else {}
    attributes = {name: Attribute(**(given or {})) for name, given in own.get("attributes", {}).items()}
    rows = each_document(data / "train.parquet")
    known = known_values((d.columns for d in rows), attributes) if attributes else {}
    return [f"{name}={value}" for name, values in known.items() for value in values]


def _model(options: Options, tokenizer: Tokenizer, folder: Path | None, mesh: Mesh, seed: int) -> Any:
    """A model from scratch, or an existing one with room for the control tokens.

    Raises:
        InputError: an existing one that is no decoder, or whose positions are fewer than `context`.
    """
    dtype = resolve_dtype(options.dtype, str(mesh.device))
    if options.architecture != "decoder":
        if folder is not None:
            raise InputError("architecture is for a model from scratch", "leave it out, or base")
        ids = {"eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
        made = from_shape(options.architecture, options.model.model_dump(), ids, tokenizer.vocab_size, seed)
        return made.to(mesh.device, dtype)
    if folder is None:
        return Decoder(_config(options, tokenizer)).initialise(seed).to(mesh.device, dtype)
    model = load_model(folder, dtype, str(mesh.device))
    if getattr(model, "kind", "causal") != "causal":
        raise InputError("is no decoder", "give a causal language model", file=folder)
    if options.context > model.config.max_position_embeddings:
        raise InputError(
            f"context {options.context} passes the model's {model.config.max_position_embeddings} positions", "lower it"
        )
    named = {token: _words(name, tokenizer) for name, token in tokenizer.control_ids.items()}
    return widened(model, tokenizer.vocab_size, seed, named if options.control_init == "words" else None)


def _words(name: str, tokenizer: Tokenizer) -> list[int]:
    """The tokens of a control token's name, as words within a text: `age=60+` as " age 60"."""
    found = re.findall(r"\w+", name)
    return tokenizer.encode(" " + " ".join(found)) if found else []


def _pack(options: Options, tokenizer: Tokenizer, model: Any, seed: int) -> Pack:
    """How windows become batches, by the architecture's own task."""
    share, span = options.noise.share, options.noise.span
    if options.architecture == "decoder":
        return next_tokens
    if options.architecture == "bert":
        return Mask(tokenizer, seed, share or 0.15)
    restore = options.architecture in ("bart", "recurrent")
    start = decoder_start(model)
    assert start is not None
    pack = Denoise(tokenizer, seed, start, restore, share or (0.3 if restore else 0.15), span)
    least = options.teacher_forcing_ratio
    return Forced(pack, model, options.teacher_forcing_schedule, least, options.steps, seed) if least < 1 else pack


def preflight(options: Options, context: StageContext) -> dict[str, Any]:
    """The first windows of the first documents, as the objective sees them; see `penchant.stages.pretrain.preflight`.

    Raises:
        InputError, DataRejected: what would stop the run.
    """
    context = _seeded(options, context)
    data = context.inputs["data"]
    tokenizer, name, objective, _ = _start(options, context, read_json(data / "summary.json"))
    documents = list(islice(each_document(data / "train.parquet"), LOOKED_AT))
    transform = getattr(objective, "transform", None) or plain(tokenizer)
    learned_from = encode(documents, tokenizer, transform, heldout=False)
    _check_columns(name, objective, learned_from)
    windows = Windows(learned_from, options.context)
    if not windows:
        raise DataRejected(f"objective {name} leaves nothing of the first {len(documents)} documents", "see threshold=")
    learned = [~w.control[1:] for w in windows]
    examples = [
        {"marked": marked(w.ids[1:].tolist(), mask, tokenizer)}
        for w, mask in zip(windows[:3], learned[:3], strict=True)
    ]
    tokens, kept = sum(map(len, learned)), sum(int(mask.sum()) for mask in learned)
    context.note(
        f"{context.name}: of the first {len(documents)} documents {len(learned_from)} are learned from; "
        f"loss on {kept:,} of {tokens:,} tokens, windows of at most {options.context}"
    )
    return {"documents": len(learned_from), "tokens": tokens, "loss_tokens": kept, "examples": examples}


def pretrain(options: Options, context: StageContext) -> dict[str, Any]:
    """Run the stage; see `penchant.stages.pretrain.run`."""
    context = _seeded(options, context)
    mesh = Mesh(context.threads, options.device, share_weights=options.shard)
    data = context.inputs["data"]
    summary = read_json(data / "summary.json")
    tokenizer, name, objective, begun = _start(options, context, summary)
    layout = _layout(objective, options, data, summary, tokenizer)
    tokens = context.folder / f"tokens-{mesh.place.rank}"
    documents, validation = _encoded(name, objective, tokenizer, data, context, tokens)
    model = _model(options, tokenizer, begun, mesh, context.seed)
    add_heads(model, getattr(objective, "heads", {}))
    pack = _pack(options, tokenizer, model, context.seed)
    heldout = HeldOut(model, tokenizer, validation, options, context, layout, mesh, pack)
    banned = tuple(i for i in tokenizer.special_ids if i != tokenizer.eos_id)

    def beside_model(folder: Path) -> None:
        tokenizer.save(folder)
        layout.save(folder)
        if MASK in tokenizer.control_ids:  # transformers' fill-mask asks for it by name
            told = read_json(folder / "tokenizer_config.json")
            write_json(folder / "tokenizer_config.json", {**told, "mask_token": control_text(MASK)})

    names = options.trackers if mesh.first else ()
    trackers = hooks(names, context.folder, options.project, context.name, context.note)
    recorder = StageRecorder(context, model, beside_model, banned, "eval_loss", trackers, mesh)
    asked, long = options.micro_batch_size, options.context
    again = options.checkpoint_activations
    rows = recorder.decided("micro_batch_size", lambda: rows_at_once(asked, model, long, mesh, again, context.note))
    parameters = sum(p.numel() for p in model.parameters())
    mesh.place_model(model, again)
    if options.teacher_forcing_ratio < 1 and mesh.shared:
        raise InputError("teacher_forcing_ratio below 1 writes with whole weights", "set shard=none")
    source = Corpus(Windows(documents, long), options.batch_size * long, rows, context.seed, mesh, pack)
    the_plan = TrainingPlan(
        source, objective, options.steps, heldout, options.eval_steps, options.save_steps, options.on_not_finite
    )
    optimizer = Optimizer(model, options.optimizer, options.steps)
    skipped = train(model, optimizer, the_plan, recorder, console.report_progress, mesh)
    summary = {
        "parameters": parameters,
        "dtype": str(model.dtype).removeprefix("torch."),
        "steps": options.steps,
        "best_step": recorder.publish(),
        "content_tokens": source.content,
        "epochs": round(source.epochs, 3),
        "best_eval_loss": recorder.best_value,
        "skipped_steps": skipped,
        "objective": name,
        "threshold": getattr(objective, "threshold", 0.0),
        "documents": len(documents),
        "micro_batch_size": rows,
        **mesh.summary(),
    }
    mesh.close()
    shutil.rmtree(tokens)
    return summary
