"""Quality rules of published corpora: each a pure function of a text that says why it fails, or None where it passes.

Sources: C4 (Raffel et al. 2020, arXiv:1910.10683, section 2.2); Gopher (Rae et al. 2021, arXiv:2112.11446, table A1 and
section A.1.1); FineWeb (Penedo et al. 2024, arXiv:2406.17557, its own heuristic filters). They were made for English
web pages: of texts without spaces between words (Chinese, Japanese), and of code, they drop nearly everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["RULES", "c4", "fineweb", "gopher_quality", "gopher_repetition"]

_STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
_ENDS = (".", "!", "?", '"', "”", "'", "’")
_SENTENCE = re.compile(r"[.!?][\"'”’)]*(?:\s|$)")
# Most share of a text's characters that the commonest n-gram, or all repeated n-grams, may cover (Gopher, table A1).
_TOP = {2: 0.20, 3: 0.18, 4: 0.16}
_MIX = np.uint64(0x9E3779B97F4A7C15)
_REPEATED = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}


def gopher_quality(text: str) -> str | None:
    """Gopher's quality filter: 50 to 100,000 words, of 3 to 10 letters on average, and what prose is made of."""
    words = text.split()
    lines = [line for line in text.splitlines() if line.strip()]
    count = max(len(words), 1)
    spoken = [word for word in words if word.isalnum() or any(map(str.isalnum, word))]  # not a dash alone
    mean = sum(map(len, spoken)) / max(len(spoken), 1)
    if not 50 <= len(spoken) <= 100_000:
        return f"{len(spoken)} words, not 50 to 100,000"
    if not 3 <= mean <= 10:
        return f"mean word length {mean:.1f}, not 3 to 10"
    for name, found in (("hashes", text.count("#")), ("ellipses", text.count("...") + text.count("…"))):
        if found / count > 0.1:
            return f"{found / count:.2f} {name} a word, more than 0.1"
    if (share := _share(lines, lambda line: line.lstrip().startswith(("•", "-")))) > 0.9:
        return f"{share:.2f} of lines start with a bullet, more than 0.9"
    if (share := _share(lines, lambda line: line.rstrip().endswith(("...", "…")))) > 0.3:
        return f"{share:.2f} of lines end with an ellipsis, more than 0.3"
    if (share := _share(words, lambda word: word.isalpha() or any(map(str.isalpha, word)))) < 0.8:
        return f"{share:.2f} of words have a letter, less than 0.8"
    if (found := len(_STOP_WORDS & {word.lower().strip(".,;:!?\"'()") for word in words})) < 2:
        return f"{found} of eight common English words, less than 2"
    return None


def gopher_repetition(text: str) -> str | None:
    """Gopher's repetition filter: duplicate lines and paragraphs, and n-grams of words that cover too much."""
    for name, pieces, most, most_chars in (
        ("lines", [p for p in text.split("\n") if p.strip()], 0.30, 0.20),
        ("paragraphs", [p for p in re.split(r"\n{2,}", text) if p.strip()], 0.30, 0.20),
    ):
        repeats = _repeats(pieces)
        if (share := len(repeats) / max(len(pieces), 1)) > most:
            return f"{share:.2f} of {name} are duplicates, more than {most}"
        if (share := sum(map(len, repeats)) / max(len(text), 1)) > most_chars:
            return f"{share:.2f} of characters are in duplicate {name}, more than {most_chars}"
    words = text.split()
    known: dict[str, int] = {}
    ids = np.array([known.setdefault(word, len(known)) for word in words], np.uint64)
    lengths = np.array([0, *map(len, words)])
    for n, most in _TOP.items():
        if (share := _top(_grams(ids, n), lengths, n, len(text))) > most:
            return f"{share:.2f} of characters are in the commonest {n}-gram, more than {most}"
    for n, most in _REPEATED.items():
        grams = _grams(ids, n)
        if len(np.unique(grams)) == len(grams):  # then no longer one stands twice
            return None
        if (share := _covered(grams, lengths, n, len(text))) > most:
            return f"{share:.2f} of characters are in duplicate {n}-grams, more than {most}"
    return None


def c4(text: str) -> str | None:
    """C4's page filter: placeholder text, curly brackets, fewer than 5 sentences in lines that end as sentences do.

    C4 also takes lines out of pages that stay, and drops pages by a list of words; neither is done here.
    """
    if "lorem ipsum" in text.lower():
        return 'it has "lorem ipsum"'
    if "{" in text or "}" in text:
        return "it has a curly bracket"
    lines = (line.strip() for line in text.splitlines())
    kept = [
        line for line in lines if line.endswith(_ENDS) and len(line.split()) >= 5 and "javascript" not in line.lower()
    ]
    if (count := sum(len(_SENTENCE.findall(line)) for line in kept)) < 5:
        return f"{count} sentences, less than 5"
    return None


def fineweb(text: str) -> str | None:
    """FineWeb's own filters: lines that end with punctuation, characters in duplicate lines, short lines."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if (share := _share(lines, lambda line: line.endswith(_ENDS))) <= 0.12:
        return f"{share:.2f} of lines end with punctuation, not more than 0.12"
    characters = max(sum(map(len, lines)), 1)
    if (share := sum(map(len, _repeats(lines))) / characters) >= 0.1:
        return f"{share:.2f} of characters are in duplicate lines, not less than 0.1"
    if (share := _share(lines, lambda line: len(line) < 30)) >= 0.67:
        return f"{share:.2f} of lines are shorter than 30 characters, not less than 0.67"
    return None


RULES: dict[str, Callable[[str], str | None]] = {
    "gopher_quality": gopher_quality,
    "gopher_repetition": gopher_repetition,
    "c4": c4,
    "fineweb": fineweb,
}


def _share(items: Sequence[str], holds: Callable[[str], bool]) -> float:
    return sum(map(holds, items)) / max(len(items), 1)


def _repeats(pieces: Sequence[str]) -> list[str]:
    """Each piece that stood before, as often as it does again."""
    seen: set[str] = set()
    return [piece for piece in pieces if piece in seen or seen.add(piece)]  # type: ignore[func-returns-value]


def _grams(ids: np.ndarray, n: int) -> np.ndarray:
    """A number for each n-gram of words, uint64 [words - n + 1]: the same for the same words."""
    count = max(0, len(ids) - n + 1)
    total = np.zeros(count, np.uint64)
    for k in range(n):
        total = (total ^ ids[k : k + count]) * _MIX
        total ^= total >> np.uint64(31)
    return total


def _top(grams: np.ndarray, lengths: np.ndarray, n: int, characters: int) -> float:
    """Share of characters in the commonest n-gram, if it comes twice; of equally common ones the longest.

    Args:
        lengths: 0, then the length of each word.
    """
    if not len(grams):
        return 0.0
    _, which, counts = np.unique(grams, return_inverse=True, return_counts=True)
    if (most := int(counts.max())) < 2:
        return 0.0
    ends = np.cumsum(lengths)
    longest = int((ends[n:] - ends[:-n])[counts[which] == most].max()) + n - 1  # with the spaces between
    return most * longest / max(characters, 1)


def _covered(grams: np.ndarray, lengths: np.ndarray, n: int, characters: int) -> float:
    """Share of characters in n-grams that stood before, no word counted twice."""
    _, first = np.unique(grams, return_index=True)
    again = np.ones(len(grams), bool)
    again[first] = False
    edges = np.zeros(len(lengths), np.int64)
    edges[: len(grams)] += again
    edges[n : n + len(grams)] -= again
    return int(lengths[1:][np.cumsum(edges)[:-1] > 0].sum()) / max(characters, 1)
