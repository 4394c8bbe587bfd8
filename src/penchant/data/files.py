"""From what the user named (stdlib, files, folders, globs) to a list of files and the names they go by."""

from __future__ import annotations

import glob
import json
import os
import re
import sysconfig
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from penchant.data import hub
from penchant.errors import InputError

__all__ = ["STDLIB", "Found", "Source", "find", "is_code", "kind_of", "packing", "size_of"]

STDLIB, PACKAGES = "stdlib", "packages"
_CODE = (
    *(".py", ".pyi", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".go", ".hs", ".java", ".jl", ".js", ".jsx", ".kt"),
    *(".lua", ".php", ".pl", ".r", ".rb", ".rs", ".scala", ".sh", ".sql", ".swift", ".ts", ".tsx"),
)
_ENDINGS = {
    **dict.fromkeys(_CODE, "text"),
    ".txt": "text",
    ".md": "text",
    ".rst": "text",
    ".jsonl": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".warc": "warc",
    ".wet": "warc",
    ".mbox": "mbox",
}
_PACKINGS = {
    "text": ("", ".gz", ".zst"),
    "jsonl": ("", ".gz", ".zst"),
    "csv": ("", ".gz", ".zst"),
    "tsv": ("", ".gz", ".zst"),
    "warc": ("", ".gz"),
}
_KINDS = (
    ".txt .md .rst .jsonl .csv .tsv or source code (also with .gz or .zst), .parquet, .warc .wet (also with .gz),"
    " .mbox, or a saved Hugging Face dataset"
)

# Generated tables, other people's packages, and tests: they would drown what people wrote.
_LEFT_OUT_FOLDERS = {
    "site-packages", "dist-packages", "idlelib", "lib2to3", "ensurepip", "encodings", "pydoc_data", "turtledemo",
    "__pycache__",
}  # fmt: skip
_LEFT_OUT_FILES = {"stringprep.py", "html/entities.py"}


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read, the name it goes by, and how to read it: text, jsonl, csv, tsv, parquet, arrow, warc, mbox or hub
    (a dataset's split, whose spec is the path).
    """

    path: Path
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Found:
    """The files that were found, sorted by name, and how many of each other ending were passed over."""

    sources: list[Source]
    passed_over: dict[str, int]


def kind_of(path: Path) -> str | None:
    """How a file is read, by its name; None if we cannot."""
    kind = _ENDINGS.get(_ending(path.name))
    return kind if kind and packing(path) in _PACKINGS.get(kind, ("",)) else None


def packing(path: Path) -> str:
    """How a file is packed, by its name: ".gz", ".zst" or ""."""
    ending = path.suffix.lower()
    return ending if ending in (".gz", ".zst") else ""


def size_of(path: Path) -> int:
    """Bytes of a file; 0 of a link to nowhere."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def is_code(name: str, endings: Sequence[str] = _CODE) -> bool:
    """Whether a file (or a row of one, `name#row`) is source code, by its name; of the languages with these endings."""
    return _ending(name.partition("#")[0]) in endings


def _ending(name: str) -> str:
    name = name.lower()
    return Path(name.removesuffix(packing(Path(name)))).suffix


def find(path: str | Sequence[str]) -> Found:
    """Every file under what the user named.

    Args:
        path: "stdlib" (the running interpreter's), "packages" (the Python sources of all that is installed), a file, a
            folder, a glob, `hf:OWNER/NAME[:CONFIG][#SPLIT]` (a dataset of the Hugging Face hub), or a list of these;
            `~` and `$VARIABLE` stand for what they do in a shell. Hidden folders are skipped, links to folders not
            followed. A file's name is its path from the folder (or from the part of a glob before its first wildcard);
            in a list of several, with that folder's name before it.

    Raises:
        InputError: a path does not exist, nothing matches, or nothing in it can be read.
    """
    given = [path] if isinstance(path, str) else list(path)
    if not given:
        raise InputError("no path given", "give data.path=FILE, FOLDER or a glob")
    passed: Counter[str] = Counter()
    sources: dict[Path, Source] = {}
    taken: set[str] = set()
    for one in given:
        here, prefix = _find_one(one, passed)
        for source in here:
            name = f"{prefix}/{source.name}" if len(given) > 1 and prefix else source.name
            if source.path in sources:
                continue
            name = source.path.as_posix() if name in taken else name
            taken.add(name)
            sources[source.path] = Source(source.path, name, source.kind)
    return Found(sorted(sources.values(), key=lambda s: s.name), dict(sorted(passed.items())))


def _find_one(one: str, passed: Counter[str]) -> tuple[list[Source], str]:
    if one == STDLIB:
        root = Path(sysconfig.get_paths()["stdlib"])
        return [Source(p, p.relative_to(root).as_posix(), "text") for p in _stdlib(root)], STDLIB
    if one == PACKAGES:
        root = Path(sysconfig.get_paths()["purelib"])
        return [Source(p, p.relative_to(root).as_posix(), "text") for p in sorted(root.rglob("*.py"))], PACKAGES
    if one.startswith(hub.PREFIX):
        return [Source(Path(spec), name, "hub") for spec, name in hub.splits(os.path.expandvars(one))], ""
    path = Path(os.path.expandvars(one)).expanduser()
    if (unset := re.search(r"\$\{?(\w+)", str(path))) and not os.path.lexists(path):
        raise InputError(f"the variable {unset[1]} is not set", f"export {unset[1]}=FOLDER", file=one)
    if path.is_file() or path.is_symlink():
        kind = kind_of(path)
        if kind is None:
            raise InputError(
                f"cannot read files of this kind ({path.suffix or 'no ending'})", f"give {_KINDS}", file=path
            )
        return [Source(path, path.name, kind)], path.parent.name
    if path.is_dir():
        return _folder(path, one, passed), path.resolve().name
    if not glob.has_magic(one):
        raise InputError("no such file or folder", "check the path", file=one)
    fixed = Path(*_fixed_parts(path))
    found: list[Source] = []
    for match in sorted(glob.glob(str(path), recursive=True)):
        if os.path.isdir(match):
            continue
        kind = kind_of(Path(match))
        if kind is None:
            passed[Path(match).suffix or "no ending"] += 1
        else:
            found.append(Source(Path(match), Path(match).relative_to(fixed).as_posix(), kind))
    if not found:
        raise InputError("no file that we can read matches", f"give {_KINDS}", file=one)
    return found, fixed.resolve().name


def _fixed_parts(path: Path) -> list[str]:
    parts = []
    for part in path.parts:
        if glob.has_magic(part):
            break
        parts.append(part)
    return parts


def _folder(root: Path, given: str, passed: Counter[str]) -> list[Source]:
    found = []
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(d for d in inner if not d.startswith(".") and d != "__pycache__")
        for name in _of_dataset(Path(folder), sorted(n for n in names if not n.startswith("."))):
            path = Path(folder, name)
            kind = kind_of(path)
            if kind is None:
                passed[path.suffix or "no ending"] += 1
            elif path.exists() and not path.is_file():
                passed["no regular file"] += 1  # reading a pipe would wait for ever
            else:
                found.append(Source(path, path.relative_to(root).as_posix(), kind))
    if not found:
        other = f" ({sum(passed.values())} of other kinds)" if passed else ""
        raise InputError(f"the folder holds no file that we can read{other}", f"give {_KINDS}", file=given)
    return found


def _of_dataset(folder: Path, names: list[str]) -> list[str]:
    """The names that count: of a saved Hugging Face dataset only its data files, not descriptions nor caches."""
    if "state.json" not in names:
        return [name for name in names if name != "dataset_dict.json"]
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        listed = {entry["filename"] for entry in state["_data_files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return names  # not a dataset's after all
    return [name for name in names if name in listed]


def _stdlib(root: Path) -> list[Path]:
    found = []
    for folder, inner, names in os.walk(root):
        inner[:] = [d for d in inner if not d.startswith((".", "test", "config-")) and d not in _LEFT_OUT_FOLDERS]
        for name in names:
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            if name.endswith(".py") and not name.startswith("_sysconfigdata") and relative not in _LEFT_OUT_FILES:
                found.append(path)
    return found
