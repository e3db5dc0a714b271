from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest

from datalayer.records.usage import Limit, LimitStanding
from datalayer.thought import THOUGHT, THOUGHT_TYPE
from threadkeeper.chat.model import ErrorKind, ModelError
from threadkeeper.chat.wording import (
    AnswerMark,
    explain,
    mark_answer,
    say,
    say_dollars,
    say_nearly_used,
    starters,
    unmark_answer,
)
from threadkeeper.conversation.thought_step import as_shown

LANGUAGES = ["en-US", "zh-CN"]


def test_chinese_has_one_word_for_each_thing() -> None:
    """Chainlit's texts and ours use the same words for comment, send and share."""
    root = Path(__file__).parents[2]
    chainlit = json.loads((root / ".chainlit/translations/zh-CN.json").read_text("utf-8"))
    ours = [file.read_text("utf-8") for file in (root / "threadkeeper/language/messages/zh-CN").glob("*.json")]
    about = (root / "chainlit_zh-CN.md").read_text("utf-8")
    texts = json.dumps([chainlit["chat"], chainlit["threadHistory"], *ours, about], ensure_ascii=False)
    for other, word in (("评论", "留言"), ("提交", "发送"), ("分享", "共享"), ("Unshare", "停止共享")):
        assert other not in texts, word
        assert word in texts
    handbook = (root / "docs/handbook_zh-CN.md").read_text("utf-8")
    # Without keys and the names of values and settings.
    words = re.sub(r'\w+\\?":|\{[^}]*\}|\b[A-Z_]{2,}\b', "", f"{texts} {handbook}")
    assert re.findall("token|令牌", words, re.IGNORECASE) == [], "词元"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", get_args(ErrorKind))
def test_every_model_error_has_a_message(kind: ErrorKind, language: str) -> None:
    words = explain(ModelError(kind, "secret detail"), language, model="gpt-x")
    assert words
    assert "{" not in words
    assert "secret detail" not in words


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_error_for_a_long_message_has_its_numbers(language: str) -> None:
    error = ModelError("too_long", "", {"tokens": 12_000, "window": 8_000})
    words = explain(error, language, model="m")
    assert "12,000" in words
    assert "8,000" in words


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("reason", ["encrypted", "without_text", "broken", "slow"])
def test_every_rejected_pdf_has_a_message(reason: str, language: str) -> None:
    assert "a.pdf" in say(f"attachment_pdf_{reason}", language, name="a.pdf", seconds=3)


def test_a_missing_placeholder_value_raises() -> None:
    with pytest.raises(KeyError):
        say("attachment_empty", "en")


@pytest.mark.parametrize("language", LANGUAGES)
def test_there_are_four_starters(language: str) -> None:
    offered = starters(language)
    assert len({starter.label for starter in offered}) == 4
    assert all(len(starter.message) > len(starter.label) for starter in offered)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("mark", get_args(AnswerMark))
@pytest.mark.parametrize("text", ["Half an ans", "", "with *stars*"])
def test_a_mark_can_be_removed_again(text: str, mark: AnswerMark, language: str) -> None:
    marked = mark_answer(text, mark, language)
    assert marked.endswith("*")
    assert marked != text
    assert unmark_answer(marked) == text
    assert unmark_answer(text) == text


@pytest.mark.parametrize(
    ("amount", "words"),
    [("0", "$0.00"), ("0.00001234", "$0.000012"), ("0.0999", "$0.100"), ("0.1", "$0.10"), ("1234.5", "$1,234.50")],
)
def test_small_amounts_have_two_significant_digits(amount: str, words: str) -> None:
    assert say_dollars(Decimal(amount), "en") == words


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("scope", ["user", "users", "project"])
@pytest.mark.parametrize("unit", ["tokens", "dollars"])
@pytest.mark.parametrize("period", ["day", "month"])
def test_every_limit_has_a_message(language: str, scope: Any, unit: Any, period: Any) -> None:
    limit = Limit("id", scope, "subject", period, unit, Decimal(200))
    standing = LimitStanding(limit, Decimal(170), Decimal(0), "2026-01-01T00:00:00.000000Z")
    refused = explain(ModelError("over_limit", "", {"standing": standing}), language, model="m")
    for words in (refused, say_nearly_used(standing, language)):
        assert "200" in words
        assert "{" not in words
    assert "85" in say_nearly_used(standing, language)
    little = explain(ModelError("over_limit", "", {"standing": standing, "need": Decimal("45.5")}), language, model="m")
    assert all(number in little for number in ("200", "30", "46" if unit == "tokens" else "45.5"))
    assert "{" not in little


def test_rounding_never_makes_the_need_equal_to_the_rest() -> None:
    limit = Limit("id", "users", None, "day", "dollars", Decimal("0.01"))
    standing = LimitStanding(limit, Decimal("0.00878"), Decimal(0), "2026-01-01T00:00:00.000000Z")
    error = ModelError("over_limit", "", {"standing": standing, "need": Decimal("0.00123")})
    assert "$0.0012 are left" in explain(error, "en", model="m")
    assert "about $0.0013." in explain(error, "en", model="m")


def test_how_long_a_thought_took_is_written_as_the_language_writes_numbers() -> None:
    thought = {"type": THOUGHT_TYPE, "metadata": {"status": THOUGHT, "seconds": 2.5}}
    assert as_shown(thought, "de-DE")["name"] == "2,5 s nachgedacht"
    assert as_shown({**thought, "metadata": {"seconds": 1234.5}}, "en-US")["name"] == "Thought for 1,234 s"
