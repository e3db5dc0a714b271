"""Numbers that readers write, as their language has them."""

from decimal import Decimal

import pytest

from threadkeeper.language.numbers import counted, number, parsed


@pytest.mark.parametrize(
    ("language", "text", "value"),
    [
        *[(language, "1000", "1000") for language in ("en-US", "zh-CN", "de-DE", "es", "fr-FR", "ja")],
        ("en-US", "1,234.5", "1234.5"),
        ("en-US", "1,000", "1000"),
        ("en-US", "-2.50", "-2.5"),
        ("en-US", "0.125", "0.125"),
        ("de-DE", "1.000", "1000"),
        ("de-DE", "1.000,00", "1000"),
        ("de-DE", "2,50", "2.5"),
        ("es", "1.000", "1000"),
        ("fr-FR", "1 000", "1000"),
        ("fr-FR", "1\u00a0000,5", "1000.5"),
        ("fr-FR", "1\u202f000\u202f000", "1000000"),
        ("ja", "1,000", "1000"),
    ],
)
def test_a_number_is_read_as_its_language_writes_it(language: str, text: str, value: str) -> None:
    assert parsed(text, language) == Decimal(value)
    assert parsed(number(Decimal(value), language), language) == Decimal(value)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        *[
            ("en-US", text)
            for text in ("", "x", "NaN", "Infinity", "1e6", "1_000", "1.000", "1.000,5", "10,00", "1 000")
        ],
        *[("de-DE", text) for text in ("2.50", "1,000", "1,234.5", "1.00.000")],
        *[("fr-FR", text) for text in ("1.000", "2.50", "1,000", "10 00")],
        *[("ja", text) for text in ("1.000", "10,00")],
    ],
)
def test_what_is_not_clearly_one_number_is_refused(language: str, text: str) -> None:
    with pytest.raises(ValueError):
        parsed(text, language)


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 files are"), (1, "1 file is"), (2, "2 files are"), (1000, "1,000 files are")]
)
def test_a_count_has_its_noun_in_the_singular_or_the_plural(count: int, words: str) -> None:
    assert counted(count, "file is", "files are") == words
    assert counted(count, "file") == words.rpartition(" ")[0]
