"""What an assistant makes of a question, without a server."""

import httpx2
import pytest

from datalayer import AssistantSettings, Passage
from threadkeeper.chat.assistants import (
    ANALYSE,
    CITE,
    answers_unknown,
    context_of,
    demo_quotes,
    idk_text,
    prompted,
    prompted_to_continue,
    sampling_of,
)
from threadkeeper.chat.model import Sampling
from threadkeeper.chat.providers.openai_errors import refused_parameter


def passage(title: str, text: str, page: int | None = None) -> Passage:
    return Passage(1, "d", title, "s", text, 0.5, page)


PASSAGES = {1: passage("Handbook", "Keys are at the desk.", page=3), 2: passage("Rules", "No {question} here.")}
QUOTED = "[1] Handbook, p. 3\nKeys are at the desk.\n\n[2] Rules\nNo {question} here."


def test_without_a_template_the_question_is_asked_with_the_default_prompt() -> None:
    prompt = prompted(AssistantSettings("A"), "Why?", {}, "Default")
    assert (prompt.system_prompt, prompt.question) == ("Default", "Why?")


def test_an_analyst_is_told_what_it_may_compute_from_with_passages_and_without() -> None:
    settings = AssistantSettings("A", type="analyst")
    assert prompted(settings, "Why?", {}, "Default").system_prompt == f"Default\n\n{ANALYSE}"
    with_passages = prompted(settings, "Why?", PASSAGES, "Default").system_prompt
    assert with_passages == f"Default\n\n{ANALYSE}\n\n{CITE}\n\n{QUOTED}"


@pytest.mark.parametrize(
    ("template", "system_prompt", "question"),
    [
        ("", f"Default\n\n{CITE}\n\n{QUOTED}", "Why?"),
        ("Be short.", f"Be short.\n\n{CITE}\n\n{QUOTED}", "Why?"),
        ("Briefly: {question}", f"{CITE}\n\n{QUOTED}", "Briefly: Why?"),
        ("{context}\n\n{question}", CITE, f"{QUOTED}\n\nWhy?"),
    ],
    ids=["none", "system", "question", "both"],
)
def test_the_model_sees_the_passages_once_whatever_the_template_has(
    template: str, system_prompt: str, question: str
) -> None:
    prompt = prompted(AssistantSettings("A", prompt=template), "Why?", PASSAGES, "Default")
    assert (prompt.system_prompt, prompt.question) == (system_prompt, question)
    continued = prompted_to_continue(AssistantSettings("A", prompt=template), "Why?", PASSAGES, "Default")
    assert continued == (f"{system_prompt}\n\n{question}" if "{question}" in template else system_prompt)


def test_a_template_without_the_question_is_the_system_prompt() -> None:
    settings = AssistantSettings("A", prompt="Use this:\n{context}")
    prompt = prompted(settings, "Why?", PASSAGES, "Default")
    assert prompt.question == "Why?"
    assert prompt.system_prompt == f"Use this:\n{QUOTED}\n\n{CITE}"
    assert context_of(PASSAGES) == QUOTED
    assert prompted_to_continue(settings, "Why?", PASSAGES, "Default") == prompt.system_prompt


def test_a_template_with_the_question_is_sent_in_its_place_and_is_the_prompt_of_its_continuation() -> None:
    settings = AssistantSettings("A", prompt="{context}\n\n{question}")
    prompt = prompted(settings, "Why {context}?", {}, "Default")
    assert (prompt.system_prompt, prompt.question) == ("", "[No passages were found.]\n\nWhy {context}?")
    assert prompted_to_continue(settings, "Why {context}?", {}, "Default") == prompt.question


@pytest.mark.parametrize(
    ("of_type", "has_passages", "unknown"),
    [("qa", False, True), ("qa", True, False), ("chat", False, False), ("analyst", False, False)],
    ids=lambda value: str(value),
)
def test_only_answers_from_passages_can_be_unknown(of_type: str, has_passages: bool, unknown: bool) -> None:
    settings = AssistantSettings("A", type=of_type)  # type: ignore[arg-type]
    assert answers_unknown(settings, PASSAGES if has_passages else {}) == unknown


def test_the_demo_quotes_the_best_passages_with_their_numbers() -> None:
    text = demo_quotes(
        {2: passage("H", "First line.\n\nSecond line."), **{n: passage("R", "x") for n in (3, 4, 5)}}, "zh"
    )
    assert text.startswith("这是**演示**")
    assert text.endswith("> First line.\n>\n> Second line. [2]\n\n> x [3]\n\n> x [4]")
    assert demo_quotes({}, "en") == ""


def test_the_idk_text_has_its_link() -> None:
    assert idk_text(AssistantSettings("A", idk="No idea.")) == "No idea."
    assert idk_text(AssistantSettings("A", idk="No.", idk_link="https://x.example/")) == "No.\n\n<https://x.example/>"


def test_the_parameters_of_an_assistant_can_be_compared() -> None:
    settings = AssistantSettings("A", top_p=0.5, logit_bias={"1": 2.0}, stop=("END",))
    assert sampling_of(settings) == Sampling(top_p=0.5, logit_bias=(("1", 2.0),), stop=("END",))
    assert hash(sampling_of(settings))


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("Unsupported parameter: 'stop' is not supported with this model.", "stop"),
        ("stop sequences are not supported", "stop"),
        ("unknown field: stop", "stop"),
        ("The server had to stop this request.", None),
        ("logit_bias is not allowed", "logit_bias"),
    ],
    ids=["quoted", "sequences", "field", "a-verb", "bias"],
)
def test_a_parameter_with_a_common_name_is_told_from_the_word(message: str, name: str | None) -> None:
    response = httpx2.Response(400, json={"error": {"message": message}})
    assert refused_parameter(response, {"stop": ["END"], "logit_bias": {"1": 1}}) == name
