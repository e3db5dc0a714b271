"""Checks the messages of a language: `python -m threadkeeper.language.check de-DE` (docs/translating.md)."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

from threadkeeper.language.catalogue import Message
from threadkeeper.language.negotiation import DEFAULT, LANGUAGES, MESSAGES, about
from threadkeeper.language.numbers import plural_forms


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with the message of this key in this file."""

    file: str
    key: str
    words: str
    is_missing: bool = False

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.words}"


def problems_of(language: str, folder: Path = MESSAGES) -> list[Problem]:
    """What is missing, unknown or wrong in a language, compared with English.

    Args:
        language: the name of its folder.
        folder: has a folder for each language.
    """
    found: list[Problem] = []
    for file in sorted((folder / DEFAULT).glob("*.json")):
        if file.stem != "language":
            english, own = _read(file), _read(folder / language / file.name)
            found += _problems(f"{language}/{file.name}", english, own, language)
    return found


def main(languages: Sequence[str]) -> int:
    """Print the problems of these languages, or of all. Gives the exit code: 1 if there is a problem."""
    if unknown := [one for one in languages if one not in LANGUAGES]:
        print(f"There is no folder {MESSAGES / unknown[0]}.", file=sys.stderr)  # noqa: T201
        return 2
    code = 0
    for language in languages or LANGUAGES:
        problems = problems_of(language)
        missing = sum(problem.is_missing for problem in problems)
        for problem in problems:
            print(problem)  # noqa: T201
        print(  # noqa: T201
            f"{language} ({about(language).name}): {missing} messages are missing, {len(problems) - missing} are wrong"
        )
        code = code or int(bool(problems))
    return code


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    pairs = json.JSONDecoder(object_pairs_hook=_without_twice).decode(file.read_text("utf-8"))
    return dict(pairs)


def _without_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"a key is there twice: {next(key for key in keys if keys.count(key) > 1)}")
    return found


def _problems(
    file: str, english: Mapping[str, Message], own: Mapping[str, Message], language: str
) -> Iterator[Problem]:
    for key, theirs in english.items():
        if key not in own:
            yield Problem(file, key, "is missing", is_missing=True)
        else:
            yield from (Problem(file, key, words) for words in _mistakes(theirs, own[key], language))
    for key in own:
        if key not in english:
            yield Problem(file, key, "is not a message: the English file does not have it")


def _mistakes(english: Message, own: Message, language: str) -> Iterator[str]:
    theirs, ours = _forms(english), _forms(own)
    exact = [int(form) for form in ours if form.isdecimal()]
    needed = plural_forms(language, besides=exact)
    if not all(isinstance(text, str) and text.strip() for text in ours.values()):
        yield "has an empty text"
        return
    if not (isinstance(own, str) and isinstance(english, str)):
        if lacking := needed - ours.keys():
            yield f"lacks a text for the plural form {_list(lacking)}"
        if unknown := {form for form in ours if not form.isdecimal()} - plural_forms(language):
            yield f"has a text for {_list(unknown)}: this is no plural form of the language"
    wanted = _placeholders(theirs["other"])
    if _placeholders(ours.get("other", "")) != wanted:
        yield f"must have the placeholders of the English text: {_list(wanted) or 'none'}"
    for form, text in ours.items():
        if (form != "other" and wanted - _placeholders(text) - {"count"}) or _placeholders(text) - wanted:
            yield f"form {form}: must have the placeholders of the English text: {_list(wanted)}"


def _forms(message: Message) -> Mapping[str, str]:
    return {"other": message} if isinstance(message, str) else message


def _placeholders(text: str) -> set[str]:
    try:
        return {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    except ValueError:
        return {f"a broken one in “{text}”"}


def _list(names: frozenset[str] | set[str]) -> str:
    return ", ".join(sorted(names))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
