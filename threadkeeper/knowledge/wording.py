"""The sentences about documents that were loaded in part, or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from datalayer.records.knowledge import Training
from threadkeeper.documents.worker.reading import Refusal
from threadkeeper.knowledge.loaders.base import Taken
from threadkeeper.knowledge.loading import LoadLimits
from threadkeeper.language.catalogue import KNOWLEDGE

UntrainedReason = Literal["deleted", "changed", "not_fetched"]
"""Why a training took nothing of a source, besides the reasons of its loader."""


def say(key: str, language: str | None, **values: object) -> str:
    """The sentence with this key. Raises KeyError for an unknown key or a missing value."""
    return KNOWLEDGE.say(key, language, **values)


def say_failure(training: Training, language: str | None) -> str:
    """Why a training failed; "" if it did not. Trainings of before have the reason in English alone."""
    failure = training.failure
    if failure is None or (key := f"failed_{failure['kind']}") not in KNOWLEDGE:
        return training.error or ""
    return say(key, language, **failure["values"])


def say_refused(
    refusal: Refusal | UntrainedReason,
    name: str,
    limits: LoadLimits,
    language: str | None,
    missing: Sequence[str] = (),
) -> str:
    """Why nothing of a file was taken, and what to do. `missing`: what a table lacks, as in `LoadRefused`."""
    values = {"seconds": f"{limits.seconds:g}", "megabytes": f"{limits.megabytes:g}"}
    if missing:
        quoted = (say("name_quoted", language, name=one) for one in missing)
        values["missing"] = say("names_between", language).join(quoted)
        return say(f"load_{refusal}_named", language, name=name, **values)
    return say(f"load_{refusal}", language, name=name, **values)


def say_fetch_failed(kind: str, values: Mapping[str, Any], language: str | None) -> str:
    """Why something was not fetched, as in `FetchFailed`, and what to do."""
    return say(f"fetch_{kind}", language, **values)


def say_fetch(fetch: Mapping[str, Any], name: str, language: str | None) -> str | None:
    """Why a data source with an address was not fetched, and what is used in its place; None if it was.

    Args:
        fetch: as in `SourceResult.fetch`.
    """
    if fetch["state"] != "failed":
        return None
    reason = say_fetch_failed(fetch["kind"], fetch["values"], language)
    kept = fetch.get("kept")
    # The day is enough, and the same in every language.
    return reason if kept is None else say("fetch_kept", language, name=name, at=kept[:10], reason=reason)


def say_taken(taken: Taken, name: str, language: str | None) -> list[str]:
    """What of a file was not taken; no sentence if all of it was."""
    said: list[str] = []
    if taken.unit is not None and taken.kept < taken.total:
        said.append(say(f"taken_{taken.unit}", language, name=name, kept=taken.kept, total=taken.total))
    elif taken.cut_characters:
        total = taken.characters + taken.cut_characters
        said.append(say("taken_characters", language, name=name, kept=taken.characters, total=total))
    if taken.left_out:
        said.append(say("taken_parts", language, name=name, parts=say_parts(taken.left_out, language)))
    return said


def say_parts(left_out: Sequence[tuple[str, Mapping[str, Any]]], language: str | None) -> str:
    return say("parts_between", language).join(say(key, language, **values) for key, values in left_out)
