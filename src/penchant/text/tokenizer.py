"""Byte-level BPE with the newline a token of its own and reserved control tokens, as a Hugging Face folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from penchant.errors import CorruptCheckpoint, DataRejected, InputError
from penchant.files import read_json, write_json, write_text

__all__ = ["END", "PAD", "Tokenizer", "control_text"]

END, PAD = "<|endoftext|>", "<|pad|>"
_MINIMUM = 256  # one token for each byte
GUARD = "\ue000"  # of the private use area: no text that people write has it


def control_text(name: str) -> str:
    """How the control token of a name is written: `good` -> `<|good|>`."""
    return f"<|{name}|>"


class Tokenizer:
    """Text <-> ids. Any text survives `decode(encode(text))`, and no text can become a special token.

    The folder that `save` writes gives the same ids in `transformers.AutoTokenizer`, with one difference that is
    meant: there, `<|good|>` written in a text is the control token, so that a model can be asked for it; here it is
    plain characters, because the text is the user's.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        end: str = END,
        pad: str = PAD,
        config: Mapping[str, Any] | None = None,
        chat_template: str | None = None,
    ):
        self._backend, self._config, self.chat_template = backend, config, chat_template
        lead, plain = (backend.encode("a", add_special_tokens=special).ids for special in (True, False))
        self.lead_ids: tuple[int, ...] = tuple(lead[: lead.index(plain[0])]) if plain and plain[0] in lead else ()
        backend.encode_special_tokens = True  # the text "<|good|>" is encoded as characters
        special = {t.content: i for i, t in sorted(backend.get_added_tokens_decoder().items()) if t.special}
        if end not in special or pad not in special:
            raise ValueError(f"the tokens {end} and {pad} are missing")
        self.end, self.pad = end, pad
        self.eos_id: int = special[end]
        self.pad_id: int = special[pad]
        self.control_ids: dict[str, int] = {
            t[2:-2]: i for t, i in special.items() if t not in (end, pad) and t == control_text(t[2:-2])
        }
        self.special_ids: tuple[int, ...] = tuple(sorted(special.values()))
        self._special = special
        self.vocab_size: int = backend.get_vocab_size()
        newline = backend.encode("\n", add_special_tokens=False).ids
        self._sizes: np.ndarray | None = None
        self.newline_id: int | None = newline[0] if len(newline) == 1 else None

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int, control: Sequence[str] = ("good", "bad")) -> Tokenizer:
        """Learn a vocabulary; the same texts in the same order give the same one.

        Args:
            texts: what to learn from.
            vocab_size: at most this many tokens, special ones included (fewer where the texts hold fewer pairs).
            control: names of control tokens, without `<|` and `|>`.

        Raises:
            InputError: `vocab_size` is too small for the bytes and the special tokens.
            DataRejected: no text.
        """
        special = [END, PAD, *map(control_text, control)]
        if vocab_size < _MINIMUM + len(special):
            raise InputError(
                f"vocab_size {vocab_size} is too small", f"bytes and special tokens alone are {_MINIMUM + len(special)}"
            )
        backend = tokenizers.Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split("\n", "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=special,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        some = False

        def told() -> Iterator[str]:
            nonlocal some
            for text in texts:
                some = some or bool(text)
                yield text

        backend.train_from_iterator(told(), trainer=trainer)
        if not some:
            raise DataRejected("no text to train a tokenizer on", "give data with at least one row of text")
        return cls(backend)

    @classmethod
    def load(cls, folder: str | Path) -> Tokenizer:
        """Read a folder that `save` wrote, or another one of Hugging Face with `tokenizer.json`.

        Its end and pad tokens are those that `tokenizer_config.json` names; without a pad token of its own, ours. Where
        the pad is the end, another special token that text does not use pads instead, if there is one.

        Raises:
            InputError: no such folder.
            CorruptCheckpoint: `tokenizer.json` is missing, broken, or lacks these tokens.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError("no such folder", "check the path of the tokenizer", file=folder)
        path = folder / "tokenizer.json"
        mend = "make the tokenizer again, or take the folder from a backup"
        if not path.is_file():
            raise CorruptCheckpoint("the file is missing", mend, file=path)
        try:
            backend = tokenizers.Tokenizer.from_file(str(path))
            return cls(backend, **_named(folder, backend), config=_raw(folder), chat_template=_template(folder))
        except Exception as error:  # `tokenizers` raises bare Exception
            raise CorruptCheckpoint(f"not a usable tokenizer ({error})", mend, file=path) from error

    def save(self, folder: str | Path) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json` into a folder, each whole or not at all."""
        folder = Path(folder)
        write_text(folder / "tokenizer.json", json.dumps(json.loads(self._backend.to_str()), ensure_ascii=False))
        if self.chat_template is not None:
            write_text(folder / "chat_template.jinja", self.chat_template)
        if self._config is not None:
            kept = {k: v for k, v in self._config.items() if k != "chat_template"}
            write_json(folder / "tokenizer_config.json", {**kept, "pad_token": self.pad})
            return
        write_json(
            folder / "tokenizer_config.json",
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": self.end,
                "eos_token": self.end,
                "pad_token": self.pad,
                "extra_special_tokens": [control_text(name) for name in self.control_ids],
                "clean_up_tokenization_spaces": False,
                "add_prefix_space": False,
            },
        )

    def with_control(self, names: Sequence[str]) -> Tokenizer:
        """The same tokenizer with control tokens beside; those that it has already keep their ids, new ones come last.

        Without a pad token apart from its end token it gets ours too.
        """
        backend = tokenizers.Tokenizer.from_str(self._backend.to_str())
        texts = [text for name in names if (text := control_text(name)) not in self._special]
        pad = self.pad
        if self.pad_id == self.eos_id:
            pad = PAD
            texts = [text for text in (PAD, *texts) if text not in self._special]
        backend.add_special_tokens([tokenizers.AddedToken(text, special=True, normalized=False) for text in texts])
        config = None if self._config is None else {**self._config, "pad_token": pad}
        return Tokenizer(backend, self.end, pad, config, self.chat_template)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; none of them special."""
        ids: list[int] = self._backend.encode(_whole(text), add_special_tokens=False).ids
        return ids

    def encode_template(self, text: str) -> list[int]:
        """Token ids of a template's text, in which special tokens that are written out become their ids."""
        found: list[int] = []
        pattern = "|".join(re.escape(name) for name in sorted(self._special, key=len, reverse=True))
        for piece in re.split(f"({pattern})", text):
            if piece in self._special:
                found.append(self._special[piece])
            elif piece:
                found += self.encode(piece.replace(GUARD, ""))
        return found

    def special_text(self, number: int) -> str:
        """How a special token is written; nothing for another."""
        return next((name for name, i in self._special.items() if i == number), "")

    def guarded(self, text: str) -> str:
        """A user's text whose special tokens, if it has any, stay characters in `encode_template`."""
        for name in self._special:
            text = text.replace(name, name[0] + GUARD + name[1:])
        return text

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, in parallel threads."""
        encoded = self._backend.encode_batch_fast([_whole(t) for t in texts], add_special_tokens=False)
        return [e.ids for e in encoded]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids; special tokens are left out, bytes that are no UTF-8 become U+FFFD."""
        text: str = self._backend.decode([int(i) for i in ids], skip_special_tokens=True)
        return text

    def byte_lengths(self, ids: Sequence[int]) -> np.ndarray:
        """Bytes of text that each token stands for, int64 [len(ids)]; 0 for special tokens."""
        if self._sizes is None:
            words = [self._backend.id_to_token(i) or "" for i in range(self.vocab_size)]  # one character a byte
            self._sizes = np.array([0 if i in self.special_ids else len(w) for i, w in enumerate(words)], np.int64)
        found: np.ndarray = self._sizes[np.asarray(ids, np.int64)]
        return found


def _raw(folder: Path) -> dict[str, Any] | None:
    """The content of `tokenizer_config.json`."""
    path = folder / "tokenizer_config.json"
    return dict(read_json(path)) if path.is_file() else None


def _template(folder: Path) -> str | None:
    """The folder's chat template, if it has one."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    found = (_raw(folder) or {}).get("chat_template")
    if isinstance(found, list):  # several by name
        found = next((one["template"] for one in found if one.get("name") == "default"), None)
    return found if isinstance(found, str) else None


def _named(folder: Path, backend: tokenizers.Tokenizer) -> dict[str, str]:
    """The end and pad tokens that `tokenizer_config.json` names."""
    raw = _raw(folder) or {}
    found = {}
    for key, name in (("end", "eos_token"), ("pad", "pad_token")):
        token = raw.get(name)
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str):
            found[key] = token
    special = [t.content for _, t in sorted(backend.get_added_tokens_decoder().items()) if t.special]
    if "end" in found and found.get("pad", PAD if PAD in special else found["end"]) == found["end"]:
        spare = [s for s in special if s != found["end"] and re.search("pad|unk|endoftext|reserved", s, re.IGNORECASE)]
        if spare:
            found["pad"] = spare[0]
    return found


def _whole(text: str) -> str:
    """The text with lone surrogates (which no encoding holds) replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
