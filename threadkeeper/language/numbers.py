"""Numbers and plural forms as a language has them, by the Unicode consortium's data (CLDR) in Babel."""

import re
from collections.abc import Callable, Container
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from babel import Locale

_DIGITS_OF_THOUSAND = 3


def number(value: int | float | Decimal, language: str, *, digits: int | None = None) -> str:
    """A number with the language's separators: 1,234.5 in English, 1.234,5 in German.

    Args:
        value: the number.
        language: one of `LANGUAGES`.
        digits: the number of decimals; None for as many as needed, at most three.
    """
    from babel.numbers import format_decimal  # noqa: PLC0415  not every command speaks

    pattern = None if digits is None else f"#,##0.{'0' * digits}".rstrip(".")
    return format_decimal(value, format=pattern, locale=locale(language))


def compact(value: int, language: str) -> str:
    """A large number with the language's word for its size: 2.35B in English, 2,35 Mrd. in German."""
    from babel.numbers import format_compact_decimal  # noqa: PLC0415

    return format_compact_decimal(value, locale=locale(language), fraction_digits=2)


def parsed(text: str, language: str) -> Decimal:
    """The number that a reader wrote as the language has it: 1,234.5 in English, 1.234,5 in German.

    Raises:
        ValueError: it is no number, is written otherwise, or can mean a thousand times as much: 1.000 in English.
    """
    from babel.numbers import parse_decimal  # noqa: PLC0415

    point, group = list(separators(language))
    if group.isspace():
        # Keyboards have one kind of space, and the language has another.
        text = re.sub(r"(?<=\d)\s(?=\d)", group, text)
    found = re.fullmatch(rf"-?(?P<whole>\d[\d{re.escape(group)}]*)(?:{re.escape(point)}(?P<decimals>\d+))?", text)
    if found is None:
        raise ValueError("it is no number")
    whole, decimals = found["whole"], found["decimals"] or ""
    if len(decimals) == _DIGITS_OF_THOUSAND and len(whole) <= _DIGITS_OF_THOUSAND and whole != "0":
        raise ValueError("its separator can be one of decimals or of thousands")
    return parse_decimal(text, locale=locale(language), strict=True)


def written(amount: Decimal, language: str) -> str:
    """The exact amount for a field of a form, so that `parsed` gives the same: 1234.5 in English, 1234,5 in German."""
    whole, _, decimals = f"{amount.normalize():f}".partition(".")
    if len(decimals) == _DIGITS_OF_THOUSAND and len(whole) <= _DIGITS_OF_THOUSAND and whole != "0":
        # With three digits, it could be a separator of thousands.
        decimals += "0"
    return whole + (separators(language)[0] + decimals if decimals else "")


def percentage(part: float, language: str, *, digits: int = 0) -> str:
    """A part of one in percent: 50% in English, 50 % in German."""
    from babel.numbers import format_percent  # noqa: PLC0415

    pattern = locale(language).percent_formats[None].pattern.replace("#,##0", f"#,##0.{'0' * digits}".rstrip("."))
    return format_percent(part, format=pattern, locale=locale(language))


def dollars(amount: Decimal, language: str, *, digits: int) -> str:
    """US dollars, the sign where the language has signs of currencies: $1.50 in English, 1,50 $ in German."""
    text = number(amount, language, digits=digits)
    before, _, after = locale(language).currency_formats["standard"].pattern.split(";")[0].partition("#,##0.00")
    return f"{before}{text}{after}".replace("¤", "$")


def separators(language: str) -> str:
    """What stands before decimals, and then what stands between thousands."""
    symbols = locale(language).number_symbols["latn"]
    return f"{symbols['decimal']}{symbols['group']}"


def spoken(value: object, language: str) -> object:
    """A value of a message: numbers as the language writes them, everything else as it is."""
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return number(value, language)
    return value


def counted(count: int, one: str, many: str | None = None) -> str:
    """A count with its noun, for the English sentences of commands: "1 file is", "2 files are", "1,000 files".

    Args:
        count: of the things.
        one: what follows the number 1.
        many: what follows another number; None for `one` with an "s".
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def plural_form(count: int, language: str) -> str:
    """The plural form of a whole number: "one" or "other" in English, always "other" in Chinese."""
    return _plural_rule(language)(count)


def plural_forms(language: str, *, besides: Container[int] = ()) -> frozenset[str]:
    """The plural forms that a language has for whole numbers, except for those of these numbers alone; and "other"."""
    return frozenset({"other", *(plural_form(count, language) for count in range(200) if count not in besides)})


@cache
def locale(language: str) -> "Locale":
    """Babel's locale of a language."""
    from babel import Locale  # noqa: PLC0415

    return Locale.parse(language, sep="-")


@cache
def _plural_rule(language: str) -> Callable[[int], str]:
    return locale(language).plural_form
