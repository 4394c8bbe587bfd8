"""Check digits of cards, bank accounts and national identity numbers: is this a number that could have been issued?"""

from __future__ import annotations

__all__ = ["chinese_id", "french_nir", "german_tax_id", "iban", "italian_fiscal_code", "luhn", "spanish_id", "us_ssn"]

_CHINESE_WEIGHTS = [2 ** (17 - k) % 11 for k in range(17)]
_SPANISH_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
# Italy, Ministry of Finance, decree of 23 December 1976, table of odd places: values of 0-9, then of A-Z.
_ITALIAN_ODD = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23]


def luhn(digits: str) -> bool:
    """Payment cards (ISO/IEC 7812-1, annex B): every second digit from the right doubled, sum divisible by 10."""
    doubled = sum(sum(divmod(2 * int(d), 10)) for d in digits[-2::-2])
    return (doubled + sum(map(int, digits[-1::-2]))) % 10 == 0


def iban(text: str) -> bool:
    """Bank accounts (ISO 13616, ISO 7064 MOD 97-10): country and check digits moved to the end, letters as 10 to 35."""
    moved = (text[4:] + text[:4]).upper()
    return int("".join(str(int(c, 36)) for c in moved)) % 97 == 1


def chinese_id(text: str) -> bool:
    """Resident identity cards (GB 11643-1999): 17 digits and a check character by ISO 7064 MOD 11-2."""
    total = sum(weight * int(d) for weight, d in zip(_CHINESE_WEIGHTS, text[:17], strict=True))
    return "10X98765432"[total % 11] == text[17].upper()


def french_nir(digits: str) -> bool:
    """Social security numbers (INSEE): 13 digits and 97 minus their remainder by 97 (Corsica's letters left out)."""
    return 97 - int(digits[:13]) % 97 == int(digits[13:])


def german_tax_id(digits: str) -> bool:
    """Tax identification numbers (§ 139b AO; ISO 7064 MOD 11,10): of the first ten digits just one is repeated."""
    if digits[0] == "0" or sorted(map(digits[:10].count, set(digits[:10])))[-2:] not in ([1, 2], [1, 3]):
        return False
    product = 10
    for d in digits[:10]:
        product = ((int(d) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(digits[10])


def spanish_id(text: str) -> bool:
    """DNI and NIE: the number's remainder by 23 names the letter; X, Y, Z in front stand for 0, 1, 2."""
    number = text[:-1].upper().translate(str.maketrans("XYZ", "012"))
    return _SPANISH_LETTERS[int(number) % 23] == text[-1].upper()


def italian_fiscal_code(text: str) -> bool:
    """Codice fiscale (decree of 23 December 1976): 15 characters and a letter that is their sum by 26."""
    values = [int(c, 36) if c.isdigit() else ord(c) - ord("A") for c in text.upper()]
    total = sum(_ITALIAN_ODD[v] if k % 2 == 0 else v for k, v in enumerate(values[:15]))
    return total % 26 == values[15]


def us_ssn(digits: str) -> bool:
    """US social security numbers have no check digit; areas 000, 666 and 9xx, group 00 and serial 0000 are not given.

    Source: Social Security Administration, "Social Security Number Randomization" (2011).
    """
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in ("000", "666") and area[0] != "9" and group != "00" and serial != "0000"
