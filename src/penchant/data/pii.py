"""Find and mask personal data that has a form: e-mail, phone, card, IBAN, national ids, IP addresses and keys.

Names, places and addresses have no form and are not found here; that takes a recogniser (`penchant.data.entities`).
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, get_args

from penchant.data import check_digits

__all__ = ["KINDS", "Kind", "Span", "find", "mask", "unmask"]

Span = tuple[int, int, str]

Kind = Literal["key", "email", "iban", "national_id", "card", "ip", "phone"]
KINDS = get_args(Kind)

_PEM = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]{20,20000}-----END [A-Z ]{0,30}PRIVATE KEY-----")
# Prefixes that issuers document, so that leaked keys can be told: AWS, GitHub, Google, Slack, Stripe, OpenAI, Hugging
# Face, GitLab, npm; and JSON web tokens (RFC 7519).
_KEY = re.compile(
    r"(?a)(?<![\w-])(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_\w{22,255}|AIza[\w-]{35}"
    r"|xox[abeprs]-[\w-]{10,250}|[rs]k_(?:live|test)_[A-Za-z0-9]{16,250}|sk-[A-Za-z0-9_-]{20,250}|hf_[A-Za-z0-9]{30,60}"
    r"|glpat-[\w-]{20,60}|npm_[A-Za-z0-9]{36}|eyJ[\w-]{10,4000}\.eyJ[\w-]{10,4000}\.[\w-]{10,4000})(?![\w-])"
)
_ASSIGNED = re.compile(
    r"(?i:api[_-]?key|secret(?:[_-]?key)?|access[_-]?token|auth[_-]?token|password)[\"']?\s{0,4}[:=]\s{0,4}[\"']"
    r"([A-Za-z0-9+/_=.-]{16,200})[\"']"
)
_EMAIL = re.compile(r"(?a)(?<![\w.+%-])[\w.+%-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])")
_IBAN = re.compile(r"(?a)(?<!\w)[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,3})?(?!\w)")
_IPV4 = re.compile(r"(?a)(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_IPV6 = re.compile(r"(?a)(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])")
_CARD = re.compile(
    r"(?<![\w.+-])(?:\d{12,19}|\d{4}(?:[ -]\d{4}){2,3}(?:[ -]\d{1,3})?|\d{4}[ -]\d{6}[ -]\d{5})(?![\w-]|\.\d)"
)
_PHONE = re.compile(
    r"(?a)(?<![\w.,+/=-])(?:\+\d{1,3}[ .-]?|\+(?=\d))?(?:\(\d{1,5}\)[ .-]?)?\d{1,14}"
    r"(?:[ .-]?(?:\(\d{1,5}\) ?)?\d{2,9}){0,5}"
    r"(?: ?(?:x|ext\.? ?)\d{1,6})?(?![\w/=-]|[.,:]\d)"
)
_SPOKEN = re.compile(
    r"(?i)\b(?:phone|tel|telephone|call|fax|mobile|cell|cellphone|contact|dial|ring|text|whatsapp|sms|telefon"
    r"|handy|rufen?|téléphone|appele[rz])\b|\bnumber(?: is|:)|电话|手机|联系"
)
# Dates, ranges of years; and the form of a social security number, which has its own rule.
_NO_PHONE = re.compile(
    r"(?:\d{3}-\d{2}-\d{4}|\d{4}[ .-]\d{1,2}[ .-]\d{1,2}|\d{1,2}[ .-]\d{1,2}[ .-](?:\d{4}|\d{2})|\d{4}-\d{4})\Z"
)

_NATIONAL: tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...] = (
    (re.compile(r"(?a)(?<![\w-])[1-8]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])\d{3}[\dXx](?![\w-])"),
     check_digits.chinese_id),
    (re.compile(r"(?a)(?<![\w-])[12] ?\d\d ?(?:0[1-9]|1[0-2]|[2-9]\d) ?\d\d ?\d{3} ?\d{3} ?\d\d(?![\w-])"),
     check_digits.french_nir),
    (re.compile(r"(?a)(?<![\w.+-])[1-9]\d{10}(?![\w-]|\.\d)|(?<![\w.+-])[1-9]\d \d{3} \d{3} \d{3}(?![\w-]|[. ]\d)"),
     check_digits.german_tax_id),
    (re.compile(r"(?a)(?<![\w-])(?:\d{8}|[XYZ]-?\d{7})-?[A-HJ-NP-TV-Z](?![\w-])"), check_digits.spanish_id),
    (re.compile(r"(?a)(?<!\w)[A-Z]{6}\d\d[A-EHLMPR-T]\d\d[A-Z]\d{3}[A-Z](?!\w)"), check_digits.italian_fiscal_code),
    (re.compile(r"(?a)(?<![\w.-])\d{3}-\d{2}-\d{4}(?![\w-]|\.\d)"), check_digits.us_ssn),
)  # fmt: skip

# Lengths by country, from the registry of ISO 13616 (SWIFT).
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LI": 21, "LT": 20, "LU": 20,
    "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24,
    "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
    "TN": 24, "TR": 26, "UA": 29, "VA": 22, "XK": 20,
}  # fmt: skip


def find(text: str) -> list[Span]:
    """Personal data in a text: `(start, end, kind)` by start, never overlapping; `text[start:end]` is the value.

    Kinds are those of `KINDS`; where two match the same characters, the first of them there is kept. Cards, IBANs and
    national ids count only with a right check digit (see `check_digits`). A phone number needs a leading `+`, or
    groups as people write them, or a word beside it that speaks of phones. Addresses of the machine itself (loopback,
    unspecified) are no personal data.
    """
    found: list[Span] = []
    if not any(map(text.__contains__, "0123456789@")) and "-----BEGIN" not in text:
        return found
    taken = bytearray(len(text))
    for kind, matches in zip(KINDS, (_keys, _emails, _ibans, _ids, _cards, _addresses, _phones), strict=True):
        for start, end in matches(text):
            if not any(taken[start:end]):
                taken[start:end] = b"\x01" * (end - start)
                found.append((start, end, kind))
    return sorted(found)


def mask(text: str, spans: Sequence[Span] | None = None) -> tuple[str, dict[str, str]]:
    """The text with each value replaced by `<KIND_n>`, and the values by their masks; the same value, the same mask.

    Args:
        text: any text; numbers of masks that already stand in it are passed over, so that `unmask` is exact.
        spans: as `find` gives them; by default found here.
    """
    counts: Counter[str] = Counter()
    names: dict[tuple[str, str], str] = {}
    pieces, at = [], 0
    for start, end, kind in find(text) if spans is None else spans:
        value = (kind, text[start:end])
        if value not in names:
            counts[kind] += 1
            while (name := f"<{kind.upper()}_{counts[kind]}>") in text:
                counts[kind] += 1
            names[value] = name
        pieces += [text[at:start], names[value]]
        at = end
    return "".join([*pieces, text[at:]]), {name: value for (_, value), name in names.items()}


def unmask(text: str, values: Mapping[str, str]) -> str:
    """What `mask` was given, from what it returned."""
    if not values:
        return text
    return re.compile("|".join(map(re.escape, values))).sub(lambda found: values[found[0]], text)


def _keys(text: str) -> Iterator[tuple[int, int]]:
    for pattern in (_PEM, _KEY):
        yield from (found.span() for found in pattern.finditer(text))
    yield from (found.span(1) for found in _ASSIGNED.finditer(text) if _is_random(found[1]))


def _is_random(value: str) -> bool:
    """Letters, digits and at least 3.5 bits a character: unlike words, paths and placeholders."""
    counts = Counter(value)
    bits = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    return bits >= 3.5 and any(map(str.isdigit, value)) and any(map(str.isalpha, value))


def _emails(text: str) -> Iterator[tuple[int, int]]:
    if "@" in text:
        yield from (found.span() for found in _EMAIL.finditer(text))


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    """IBANs with or without spaces; a word after one may look like a group of it, so shorter ends are tried too."""
    for found in _IBAN.finditer(text):
        start, end = found.span()
        while end > start:
            packed = text[start:end].replace(" ", "")
            if len(packed) == _IBAN_LENGTHS.get(packed[:2].upper()) and check_digits.iban(packed):
                yield start, end
                break
            end = start + max(text[start:end].rfind(" "), 0)


def _ids(text: str) -> Iterator[tuple[int, int]]:
    for pattern, valid in _NATIONAL:
        yield from (found.span() for found in pattern.finditer(text) if valid(re.sub("[ -]", "", found[0])))


def _cards(text: str) -> Iterator[tuple[int, int]]:
    for found in _CARD.finditer(text):
        digits = re.sub("[ -]", "", found[0])
        # Major industry identifiers 1 to 6 (ISO/IEC 7812-1): airlines, travel, banking; Discover and Maestro have 6.
        if digits[0] in "123456" and len(set(digits)) > 1 and check_digits.luhn(digits):
            yield found.span()


def _addresses(text: str) -> Iterator[tuple[int, int]]:
    for pattern in (_IPV4, _IPV6):
        for found in pattern.finditer(text):
            # "a::b" is an address by its form, and C++ besides: a written one has four groups or more.
            if pattern is _IPV6 and (len(re.findall("[0-9A-Fa-f]+", found[0])) < 4 or not re.search(r"\d", found[0])):
                continue
            try:
                address = ipaddress.ip_address(found[0])
            except ValueError:
                continue
            if not (address.is_loopback or address.is_unspecified or found[0].startswith(("0.", "255."))):
                yield found.span()


def _phones(text: str) -> Iterator[tuple[int, int]]:
    for found in _PHONE.finditer(text):
        number = re.sub("(?: ?(?:x|ext).*)", "", found[0])
        groups = re.findall(r"\d+", number)
        count = sum(map(len, groups))
        if not 7 <= count <= 15 or _NO_PHONE.match(number):
            continue
        if (number.startswith("+") and count > 7) or _as_written(number, groups) or _spoken_of(text, found.start()):
            yield found.span()


def _as_written(number: str, groups: Sequence[str]) -> bool:
    """Whether digits are grouped as in phone numbers and in little else (thousands, versions and decimals are not)."""
    if len(groups) < 3 and not (len(groups) == 2 and number.startswith("(")):
        return False
    if number.startswith("("):
        return True
    separators = set(re.findall(r"[ .-]", number))
    if len(separators) != 1 or sum(map(len, groups)) < 8:
        return False
    american = [len(g) for g in groups[-3:]] == [3, 3, 4] and len(groups) < 5
    return american or (groups[0].startswith("0") and len(groups[0]) > 1 and {*map(len, groups)} != {3})


def _spoken_of(text: str, start: int) -> bool:
    return _SPOKEN.search(text, max(0, start - 60), start) is not None
