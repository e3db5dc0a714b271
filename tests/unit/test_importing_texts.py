"""Readers take nothing but marks out of the texts of messages, and no text keeps the CPU busy for long."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from threadkeeper.importing.model import Conversation, Source
from threadkeeper.importing.readers import chatgpt_citations, deepseek, grok, librechat_citations, open_webui
from threadkeeper.importing.readers.chatgpt import _comment
from threadkeeper.importing.sources import with_links

PAGE = Source("https://example.org/d", "Dingo")
LINK = "([Dingo](<https://example.org/d>))"
PAGES = {(0, "search", 0): PAGE}
REASONING = '<details type="reasoning">'


def details(said: str) -> list[Any]:
    return [*open_webui._of_content(said)]


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda size: grok._without_cards("<grok:render " * size), id="grok"),
        pytest.param(
            lambda size: grok._without_cards("<grok:render>" * size + "</xai:tool_usage_card>"), id="grok-end"
        ),
        pytest.param(lambda size: details(REASONING * size), id="open-webui"),
        pytest.param(lambda size: details(REASONING[:-1] * size), id="open-webui-tag"),
        pytest.param(lambda size: details("```a\n" * size), id="open-webui-fence"),
        pytest.param(lambda size: details(f'<details type="reasoning" {"a" * size}></details>'), id="open-webui-name"),
        pytest.param(lambda size: chatgpt_citations.cited("\ue200" * size, {}), id="chatgpt"),
        pytest.param(lambda size: chatgpt_citations.cited("\u3010" * size, {}), id="chatgpt-old"),
        pytest.param(
            lambda size: with_links("http://a" * size, [Source("http://a" * (size // 2) + "!")]), id="with-links"
        ),
    ],
)
def test_a_text_of_four_times_the_length_takes_about_four_times_the_work(read: Callable[[int], object]) -> None:
    def taken(size: int) -> float:
        """The CPU time of the fastest run."""
        runs = []
        for _ in range(3):
            begun = time.process_time()
            read(size)
            runs.append(time.process_time() - begun)
        return min(runs)

    assert taken(4000) < 10 * max(taken(1000), 1e-4)


def test_a_mark_in_a_title_is_no_mark() -> None:
    mark = "\u30101\u2020source\u3011"
    references = [{"matched_text": mark, "items": [{"url": "https://example.org/d", "title": mark * 2}]}] * 3
    said, _ = chatgpt_citations.cited(f"A dog {mark}.", {"content_references": references})
    assert said == f"A dog ([{mark * 2}](<https://example.org/d>))."


def test_marks_in_a_row_get_the_words_of_all() -> None:
    marks = ["\u30101\u3011", "\u30102\u3011"]
    reference = {"matched_text": "".join(marks), "items": [{"url": PAGE.url, "title": PAGE.title}]}
    said, _ = chatgpt_citations.cited(f"A dog {''.join(marks)}.", {"content_references": [reference]})
    assert said == f"A dog {LINK}."


@pytest.mark.parametrize("said", ['In C# write "\ue200" for it', "From \ue200 to \ue201 and \ue203", r'"\ue200" is it'])
def test_characters_that_a_text_is_about_stay(said: str) -> None:
    assert chatgpt_citations.cited(said, {}) == (said, ())
    assert librechat_citations.cited(said, {}, has_found=False) == (said, ())


def test_anchors_without_their_results_are_taken_out() -> None:
    said = "\ue203Nearly\ue204\ue202turn0file0."
    assert librechat_citations.cited(said, {}, has_found=False) == ("Nearly.", ())
    said = r"Nearly \ue202turn0search0 \ue202turn0file0."
    assert librechat_citations.cited(said, PAGES, has_found=True) == (f"Nearly {LINK}.", (PAGE,))


def test_a_number_of_too_many_digits_costs_nothing() -> None:
    digits = "9" * 5000
    said = f"A [citation:{digits}][citation:1]"
    assert deepseek._cited(said, {1: PAGE}) == (f"A [citation:{digits}] {LINK}", (PAGE,))
    said, sources = librechat_citations.cited(f"A\ue202turn{digits}search0\ue202turn0search0", PAGES, has_found=True)
    assert (said, sources) == (f"Aturn{digits}search0 {LINK}", (PAGE,))
    (thought,) = details(f"{REASONING}&#{digits};</details>")
    assert thought.text == f"&#{digits};"
    assert _comment("[" * 100_000) == "[" * 100_000


@pytest.mark.parametrize("fence", ["```", "~~~~", "  ```"])
def test_details_in_code_stay_in_the_answer(fence: str) -> None:
    block = f"{fence}html\n{REASONING}<summary>S</summary>\nhello</details>\n```not the end\n{fence}"
    code = f"Collapse it:\n{block}\nDone."
    (answer,) = details(code)
    assert (answer.kind, answer.text) == ("answer", code)
    found = details(f"{REASONING}\n<summary>S</summary>\nHm\n</details>\n{code}\n{REASONING}More</details>")
    assert [(one.kind, one.text) for one in found] == [("thought", "Hm"), ("answer", code), ("thought", "More")]
    # Code in a line is no fence.
    found = details(f"```a``` is code\n{REASONING}Hm</details>")
    assert [one.kind for one in found] == ["answer", "thought"]


def test_a_half_answer_keeps_what_belongs_to_it_beside_its_error() -> None:
    about: dict[str, Any] = {
        "role": "assistant",
        "content": "A half answer",
        "error": {"content": "The stream broke"},
        "sources": [{"source": {"url": PAGE.url, "name": PAGE.title}}],
        "files": [{"type": "file", "id": "f", "name": "p.png"}],
        "annotation": {"rating": 1},
    }
    answer, error = open_webui._parts(Conversation("c"), about)
    assert (answer.text, len(answer.files), answer.vote is not None, answer.sources) == (
        about["content"],
        1,
        True,
        (PAGE,),
    )
    assert (error.text, error.is_error, error.files, error.vote, error.sources) == (
        "The stream broke",
        True,
        (),
        None,
        (),
    )
    (error,) = open_webui._parts(Conversation("c"), about | {"content": ""})
    assert (error.is_error, len(error.files), error.vote is not None) == (True, 1, True)
