"""The message files that translators edit, against each other and against the code that says their messages."""

import ast
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from jinja2 import Environment, nodes

from threadkeeper.language.catalogue import CHAT, KNOWLEDGE, PAGES, Catalogue, Message
from threadkeeper.language.check import problems_of
from threadkeeper.language.negotiation import LANGUAGES, MESSAGES, about, language_for

ROOT = Path(__file__).parents[2]
NAMES = sorted(file.stem for file in (MESSAGES / "en-US").glob("*.json") if file.stem != "language")
# The first argument of these is a key.
SAY = ("say", "Notice", "AttachmentRefused", "InvalidInput", "BadPackage", "BadConversation", "Reason")
# Beginnings of keys of which the code builds the whole key from two values.
BUILT = ("kind_", "limit_nearly_")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_no_mistakes(language: str) -> None:
    """Placeholders, plural forms, unknown keys; in a complete language, missing keys too."""
    problems = problems_of(language)
    if not about(language).is_complete:
        problems = [one for one in problems if not one.is_missing]
    assert [str(one) for one in problems] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_keys_are_in_the_same_order_in_each_language(language: str) -> None:
    for name in NAMES:
        file = MESSAGES / language / f"{name}.json"
        keys = keys_of(file) if file.exists() else []
        assert keys == [key for key in keys_of(MESSAGES / "en-US" / f"{name}.json") if key in keys]


def test_every_file_of_messages_belongs_to_a_catalogue_without_a_key_twice() -> None:
    assert set(NAMES) == {name for catalogue in (CHAT, PAGES, KNOWLEDGE) for name in catalogue.names}
    for catalogue in (CHAT, PAGES, KNOWLEDGE):
        keys = [key for name in catalogue.names for key in keys_of(MESSAGES / "en-US" / f"{name}.json")]
        assert len(keys) == len(set(keys))


@pytest.mark.parametrize(
    ("language", "letters"), [("zh-CN", "[\u4e00-\u9fff]"), ("ja", "[\u3040-\u30ff\u4e00-\u9fff]")]
)
def test_sentences_are_written_in_the_letters_of_their_language(language: str, letters: str) -> None:
    for name in NAMES:
        file = MESSAGES / language / f"{name}.json"
        for key, message in json.loads(file.read_text("utf-8")).items() if file.exists() else ():
            for text in texts_of(message):
                words = re.sub(r"\{\w+\}|`[^`]*`", "", text)
                assert re.search(letters, words) or not re.search(r"[a-z]+ [a-z]+ [a-z]+", words), key


def test_the_code_says_every_message_and_no_other() -> None:
    literals, built, said = set[str](), set[str](), set[str]()
    for source in (*sorted((ROOT / "threadkeeper").rglob("*.py")), ROOT / "app.py"):
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            match node:
                case ast.Call(ast.Name(name) | ast.Attribute(attr=name), [ast.Constant(str(key)), *_]) if name in SAY:
                    said.add(key)
                case ast.Constant(str(text)):
                    literals.add(text)
                case ast.JoinedStr(values):
                    parts = (re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".+" for part in values)
                    built.add("".join(parts))
    for template in sorted((ROOT / "threadkeeper/web/pages/templates").rglob("*.html")):
        tree = Environment().parse(template.read_text("utf-8"))
        for call in tree.find_all(nodes.Call):
            match call:
                case nodes.Call(node=nodes.Name(name="say"), args=[nodes.Const(value=str(key)), *_]):
                    said.add(key)
        literals |= {node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)}
        for joined in tree.find_all(nodes.Concat):
            added = (re.escape(str(part.value)) if isinstance(part, nodes.Const) else ".+" for part in joined.nodes)
            built.add("".join(added))
    scripts = "\n".join(file.read_text("utf-8") for file in (ROOT / "public").rglob("*.js"))
    literals |= {f"page_{word}" for word in re.findall(r"\w+", scripts)}
    built |= {f"page_{start}.*" for start in re.findall(r"`([a-z]+_[a-z_]+)\$\{", scripts)}
    patterns = [re.compile(one) for one in built if re.search("[a-z]+_|_[a-z]+", one)]

    keys = {*CHAT, *PAGES, *KNOWLEDGE}
    unused = {
        key
        for key in keys - literals - said
        if not key.startswith(BUILT) and not any(pattern.fullmatch(key) for pattern in patterns)
    }
    assert unused == set()
    assert said - keys == set()
    assert len(said) > 500


@pytest.mark.parametrize(
    ("wish", "language"),
    [
        *[("zh", "zh-CN"), ("zh-TW", "zh-CN"), ("ZH-hans", "zh-CN"), ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN")],
        *[("en-GB", "en-US"), ("en,zh;q=0.5", "en-US"), ("", "en-US"), (None, "en-US"), ("it", "en-US")],
        *[("de", "de-DE"), ("de-AT,en;q=0.1", "de-DE"), ("es-MX", "es"), ("fr", "fr-FR"), ("ja-JP", "ja")],
        # The order of qualities, not that of the header; what is not wanted; a language that we lack.
        *[("en;q=0.3, fr;q=0.9", "fr-FR"), ("de;q=0,ja;q=0.1", "ja"), ("pt-BR, es;q=0.8, *;q=0.1", "es")],
        *[
            ("*", "en-US"),
            ("de;q=high", "en-US"),
            ("de;q=2,fr", "fr-FR"),
            (";;,==,de", "de-DE"),
            ("d" * 10_000, "en-US"),
        ],
    ],
)
def test_a_reader_gets_the_language_wished_for_most(wish: str | None, language: str) -> None:
    assert language_for(wish) == language
    assert language_for(None, wish) == language


def test_the_first_wish_with_a_language_of_ours_decides() -> None:
    assert language_for("pt-BR", "pt-BR,de;q=0.9") == "de-DE"
    assert language_for("ja", "de") == "ja"


@pytest.fixture
def unfinished(tmp_path: Path) -> Catalogue:
    """Messages of which German has one, with two plural forms, and Japanese none."""
    files = {
        "en-US": {"files": {"0": "no file", "one": "{count} file", "other": "{count} files"}, "bye": "Goodbye"},
        "de-DE": {"files": {"one": "{count} Datei", "other": "{count} Dateien"}},
    }
    for language, messages in files.items():
        (tmp_path / language).mkdir()
        (tmp_path / language / "some.json").write_text(json.dumps(messages), "utf-8")
    return Catalogue("some", folder=tmp_path)


def test_a_message_without_translation_is_said_in_english_and_logged(
    unfinished: Catalogue, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    assert unfinished.say("bye", "de-DE") == "Goodbye"
    assert unfinished.say("bye", "de-DE") == "Goodbye"
    assert [record.getMessage() for record in caplog.records] == [
        "1 messages are not translated into de-DE, so users read them in English: bye"
    ]
    assert unfinished.say("files", "ja", count=2) == "2 files"
    with pytest.raises(KeyError):
        unfinished.say("hello", "de-DE")
    with pytest.raises(KeyError):
        unfinished.say("files", "de-DE")


def test_a_number_chooses_the_plural_form_and_is_written_as_in_the_language(unfinished: Catalogue) -> None:
    def said(count: object, language: str) -> str:
        return unfinished.say("files", language, count=count)

    assert [said(count, "en") for count in (0, 1, 2, 12_345)] == ["no file", "1 file", "2 files", "12,345 files"]
    assert [said(count, "de") for count in (0, 1, 12_345)] == ["0 Dateien", "1 Datei", "12.345 Dateien"]
    assert said("1,000+", "en") == "1,000+ files"


def keys_of(file: Path) -> list[str]:
    """The keys in the order of the file, with duplicates."""
    return [key for key, _ in json.loads(file.read_text("utf-8"), object_pairs_hook=list[tuple[str, object]])]


def texts_of(message: Message) -> Iterator[str]:
    yield from [message] if isinstance(message, str) else message.values()
