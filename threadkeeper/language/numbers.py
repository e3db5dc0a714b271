"""Numbers and plural forms as a language has them, by the Unicode consortium's data (CLDR) in Babel."""

from collections.abc import Callable, Container
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from babel import Locale


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
