"""The form of an assistant: its fields as texts, and the settings of a posted form.

A field that a form does not have keeps its value: the wizard has five questions, and the advanced form all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from datalayer.records.assistants import AssistantAccess, AssistantProblem, AssistantSettings
from threadkeeper.web.pages.filled import Filled
from threadkeeper.web.pages.forms import Posted
from threadkeeper.web.pages.sentences import Say

TEXTS = (
    *("name", "description", "type", "mode", "prologue", "prompt", "model", "embedding_model", "idk", "idk_link"),
    "training",
)
FRACTIONS = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "score_threshold")
LINES = ("opening_prompts", "tips")
NUMBERS = (*FRACTIONS, "max_tokens")
LONGEST_FIELD = 100_000
"""Characters. The checks of the layer name the fields that are too long."""
REVIEWERS, ADMINS = "reviewers", "admins"
FOR_WHOM = ("everyone", REVIEWERS, ADMINS, "users")
_ROLES = {REVIEWERS: "reviewer", ADMINS: "admin"}


def filled(settings: AssistantSettings, access: AssistantAccess, owner: str | None) -> Filled:
    """The form of an assistant as it is stored."""
    values = {name: str(getattr(settings, name)) for name in TEXTS}
    for name in NUMBERS:
        value = getattr(settings, name)
        values[name] = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    values |= {name: "\n".join(_one_line(text) for text in getattr(settings, name)) for name in LINES}
    values["stop"] = "\n".join(map(_escaped, settings.stop))
    values["logit_bias"] = "\n".join(f"{token}: {bias:g}" for token, bias in settings.logit_bias.items())
    values |= {"access": for_whom(access), "users": "\n".join(access.users), "owner": owner or ""}
    return Filled(values, {})


def posted_values(form: Posted, before: Filled) -> dict[str, str]:
    """The texts of a posted form; a field that it lacks has its value of before."""
    return {
        name: form.one(name, longest=LONGEST_FIELD) if form.has(name) else value
        for name, value in before.values.items()
    }


def settings_of(values: Mapping[str, str], before: AssistantSettings, say: Say) -> AssistantSettings:
    """The settings of a form. A text that is no number stays a text, which the check of the layer refuses.

    An assistant that answers from passages alone gets a prompt and an `idk` text if the form has none.
    """
    given: dict[str, Any] = {name: values[name] for name in TEXTS}
    given |= {name: _number(values[name], float) for name in FRACTIONS}
    given["max_tokens"] = _number(values["max_tokens"], int)
    given |= {name: tuple(line for line in values[name].split("\n") if line.strip()) for name in LINES}
    given["stop"] = tuple(_unescaped(line) for line in values["stop"].split("\n") if line)
    given["logit_bias"] = _biases(values["logit_bias"])
    if given["type"] == "qa":
        given["prompt"] = given["prompt"] if given["prompt"].strip() else say("assistant_qa_prompt")
        given["idk"] = given["idk"] if given["idk"].strip() else say("assistant_qa_idk")
    return replace(before, **given)


def for_whom(access: AssistantAccess) -> str:
    """The one of FOR_WHOM that is chosen in a form."""
    return next((name for name, role in _ROLES.items() if role == access.role), access.kind)


def access_of(values: Mapping[str, str]) -> AssistantAccess:
    """Who may use the assistant, as a form says."""
    if (chosen := values["access"]) in _ROLES:
        return AssistantAccess("role", _ROLES[chosen])
    names = tuple(values["users"].split("\n")) if chosen == "users" else ()
    return AssistantAccess(chosen, users=names)  # type: ignore[arg-type]  # the layer checks it


def sentences(problems: Sequence[AssistantProblem], say: Say) -> dict[str, str]:
    """A sentence for each field that is not valid."""
    return {one.field: say(f"assistant_bad_{one.kind}", **one.values) for one in problems}


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _number(text: str, read: Callable[[str], Any]) -> Any:
    try:
        return read(text) if text.strip() else None
    except ValueError:
        return text


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def _unescaped(line: str) -> str:
    parts = line.split("\\\\")
    return "\\".join(part.replace("\\n", "\n").replace("\\t", "\t") for part in parts)


def _biases(text: str) -> Any:
    biases: dict[str, Any] = {}
    for line in text.split("\n"):
        if line.strip():
            token, _, bias = line.partition(":")
            biases[token.strip()] = _number(bias, float)
    return biases
