"""The language in a browser's cookie."""

import pytest

from threadkeeper.language.chosen import chosen_language


@pytest.mark.parametrize(
    ("cookies", "language"),
    [
        ("reader_language=de-DE", "de-DE"),
        ('time_zone=UTC; reader_language="ja" ; access_token=x', "ja"),
        ("broken={a b}; reader_language=zh-CN", "zh-CN"),
        ("reader_language=de", None),
        ("another_reader_language=de-DE", None),
        ("reader_language=de-DE.x", None),
        ("", None),
        (None, None),
    ],
)
def test_only_a_language_of_ours_is_a_choice(cookies: str | None, language: str | None) -> None:
    assert chosen_language(cookies) == language
