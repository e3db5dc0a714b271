"""Thought is told from speech, whatever server sent it and wherever its text is cut."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalayer.thought import Splitter, speech_of, split
from tests.support.model_server import THOUGHTS
from threadkeeper.chat.model import Delta, Finish, Model, ModelRequest, Thought
from threadkeeper.chat.providers.thought import AnswerReader, joined, read_message

# Text, and the thought and the speech in it.
SPLITS = [
    ("<think>\nA or B?\n</think>\n\nB.", "A or B?", "B."),
    (" \n<Think>A or B?</THINK>B.", "A or B?", "B."),
    ("<thinking>A</thinking> B", "A", "B"),
    ("<thought>A</thought>B", "A", "B"),
    ("<reasoning>\nA\n</reasoning>\nB", "A", "B"),
    ("<seed:think>A</seed:think>B", "A", "B"),
    ("[THINK]A[/THINK]B", "A", "B"),
    ("◁think▷甲◁/think▷乙", "甲", "乙"),
    ("<|channel|>analysis<|message|>A<|end|><|start|>assistant<|channel|>final<|message|>B", "A", "B"),
    ("<think>\n\n</think>\n\nB", "", "B"),
    ("<think>A</think>\n<think>B</think>\nC", "A\n\nB", "C"),
    ("<thinking>A <think>x</think> B</thinking>C", "A <think>x</think> B", "C"),
    ("<think>A <think>x</think> B</think>C", "A <think>xB", "C"),
    ("<THINK>A\n<think>\nx\n<think>y</think>z\n</think>\nB\n</Think>\n\nC", "A\n<think>\nx\n<think>yz\nB", "C"),
    ("<think>Say `<think>`?</think>Yes, and `</think>`.", "Say `<think>`?", "Yes, and `</think>`."),
    (
        "<think>The tag <think>.</think>It ends with </think>, as said.",
        "The tag <think>.",
        "It ends with </think>, as said.",
    ),
    ("<think>cut off in the thou", "cut off in the thou", ""),
    ("<think>cut off in the tag </thi", "cut off in the tag </thi", ""),
    # The opening tag is in the chat template.
    ("Let me see.\n\nA or B?\n</think>\n\nB.", "Let me see.\n\nA or B?", "B."),
    ("Okay, so B.</think>The answer is B.", "Okay, so B.", "The answer is B."),
    ("Okay, so B. </think>\n\n**B**", "Okay, so B.", "**B**"),
    ("甲还是乙？</think>乙。", "甲还是乙？", "乙。"),
    ("The code is `x</think>`.\n</think>\nB", "The code is `x</think>`.", "B"),
    # The server took the thought away and left the closing tag.
    ("</think>\n\nB", "", "B"),
    # Speech: a tag in code, in the middle of an answer, or none at all.
    ("```xml\n<think>A</think>\n```\nB", "", "```xml\n<think>A</think>\n```\nB"),
    ("```\nA\n</think>\n```\nB", "", "```\nA\n</think>\n```\nB"),
    ("`<think>` begins a thought, `</think>` ends it.", "", "`<think>` begins a thought, `</think>` ends it."),
    ("Models write <think> first and </think>\nlater.", "", "Models write <think> first and </think>\nlater."),
    ("The tag is </think>, not </thought>.", "", "The tag is </think>, not </thought>."),
    ('Write "</think>" at the end.', "", 'Write "</think>" at the end.'),
    ("It ends with </think>", "", "It ends with </think>"),
    ("B.\n\n<think>A</think>", "", "B.\n\n<think>A</think>"),
    ("<b>bold</b> and <th>head</th>, a < b", "", "<b>bold</b> and <th>head</th>, a < b"),
    ("<thi", "", "<thi"),
    ("\n  indented", "", "\n  indented"),
    ("  \n", "", "  \n"),
    ("", "", ""),
]


def read_in_pieces(pieces: list[str]) -> tuple[str, str]:
    splitter, thought, speech = Splitter(), "", ""
    parts = [part for piece in pieces for part in splitter.feed(piece)]
    for kind, text in [*parts, *splitter.end()]:
        if kind == "taken_back":
            assert speech, "there is text to take back"
            thought, speech = thought + speech, ""
        elif kind == "thought":
            thought += text
        else:
            speech += text
    return thought.strip(), speech


@pytest.mark.parametrize(("text", "thought", "speech"), SPLITS)
def test_thought_is_told_from_speech_wherever_the_text_is_cut(text: str, thought: str, speech: str) -> None:
    assert split(text) == (thought, speech)
    for size in (1, 2, 3, 7, 1000):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert read_in_pieces(pieces) == (thought, speech), size


@given(st.sampled_from([text for text, _, _ in SPLITS]), st.lists(st.integers(0, 80), max_size=6))
def test_the_cuts_make_no_difference(text: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(places)]
    assert read_in_pieces(pieces) == split(text)


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "\n", "a", " ", "`", "```\n", "<", "[/THINK]", "."]), max_size=12)
)
def test_no_character_of_an_odd_answer_is_invented(parts: list[str]) -> None:
    text = "".join(parts)
    thought, speech = split(text)
    assert read_in_pieces(list(text)) == (thought, speech)
    rest = iter(text)
    assert all(character in rest for character in (thought.replace("\n\n", "") + speech) if character not in "\n ")


def test_text_without_a_tag_is_given_on_at_once() -> None:
    splitter = Splitter()
    assert splitter.feed("Hello") == [("speech", "Hello")]
    assert splitter.feed(" there, 1") == [("speech", " there, 1")]
    assert splitter.feed(" < 2") == [("speech", " < 2")]
    assert splitter.feed("; <") == [("speech", "; ")], "a beginning of a tag is held back"
    assert splitter.end() == [("speech", "<")]


def test_old_answers_are_stripped() -> None:
    assert speech_of("<think>The user says hi.</think>\n\nHi!") == "Hi!"
    assert speech_of("Hi!") == "Hi!"


@pytest.mark.parametrize(
    ("message", "thought", "text"),
    [
        ({"reasoning_content": "A", "content": "\n\nB"}, "A", "B"),
        ({"reasoning": "A", "reasoning_details": [{"type": "reasoning.text", "text": "A"}], "content": "B"}, "A", "B"),
        ({"reasoning_details": [{"type": "reasoning.summary", "summary": "A"}], "content": "B"}, "A", "B"),
        ({"reasoning_details": [{"type": "reasoning.encrypted", "data": "eHg="}], "content": "B"}, "", "B"),
        ({"reasoning": {"content": "A"}, "content": "B"}, "A", "B"),
        ({"thinking": "A", "content": "B"}, "A", "B"),
        ({"content": [{"type": "redacted_thinking", "data": "eHg="}, {"type": "text", "text": "B"}]}, "", "B"),
        ({"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "A"}]}, "B"]}, "A", "B"),
        ({"content": [{"type": "text", "text": "<think>A</think>"}, {"type": "text", "text": "B"}]}, "A", "B"),
        ({"content": [{"type": "image_url"}, "B"]}, "", "B"),
        ({"reasoning_content": "A", "content": "</think>\n\nB"}, "A", "B"),
        ({"reasoning_content": "\n", "content": "B"}, "", "B"),
        ({"reasoning_content": "", "content": "<think>A</think>B"}, "A", "B"),
        ({"content": {"parts": [{"text": "A", "thought": True}, {"text": "B"}]}}, "A", "B"),
        ({"thought": "A", "content": "B"}, "A", "B"),
        # The mark says that there is thought in the message, and only the tags say where.
        ({"content": "<thought>A</thought>B", "extra_content": {"google": {"thought": True}}}, "A", "B"),
        ({"content": "B", "extra_content": {"google": {"thought": True}}}, "", "B"),
        ({"content": "B", "thought": False, "reasoning": None}, "", "B"),
        ({"content": None, "refusal": "No."}, "", "No."),
        ({"content": None}, "", ""),
    ],
)  # fmt: skip
def test_a_thought_is_found_in_its_field_or_block(message: dict[str, object], thought: str, text: str) -> None:
    assert read_message(message)[:2] == (thought, text)


_PIECES = ("a", " ", "\n", "<", "think>", "[", "!", "](", "data:", "DATA:image/png;base64,", "A" * 2_000, "é")


@given(st.lists(st.sampled_from(_PIECES)))
def test_a_plain_message_is_read_as_one_that_is_split(pieces: list[str]) -> None:
    content = "".join(pieces)
    reader = AnswerReader()
    reader.take({"content": content})
    reader.end()
    assert read_message({"role": "assistant", "content": content, "refusal": None}) == joined(reader.events())


def test_the_same_words_in_a_second_field_are_not_a_second_thought() -> None:
    reader = AnswerReader()
    for delta in ({"reasoning": "A"}, {"reasoning": "B"}, {"reasoning_content": "AB"}, {"content": "C"}):
        reader.take(delta)
    assert reader.events() == [Thought("AB"), Delta("C")]


MARK = {"extra_content": {"google": {"thought": True}}}


@pytest.mark.parametrize(
    ("deltas", "events"),
    [
        # A mark ends with its delta; a tag that is open does not.
        ([{"content": "A", **MARK}, {"content": "B"}], [Thought("A"), Delta("B")]),
        ([{"content": "<thought>A", **MARK}, {"content": "B</thought>C"}], [Thought("AB"), Delta("C")]),
        ([{"content": "<tho", **MARK}, {"content": "ught>A", **MARK}, {"content": "</thought>B"}],
         [Thought("A"), Delta("B")]),
        ([{"content": "<b>A", **MARK}, {"content": "\n\nB"}], [Thought("<b>A"), Delta("B")]),
        ([{"content": "\n", **MARK}, {"content": "A", **MARK}, {"content": "B"}], [Thought("A"), Delta("B")]),
        # The model thinks once more between two parts of its answer.
        ([{"content": "B"}, {"content": "A", **MARK}, {"content": " C"}], [Delta("B"), Thought("A"), Delta(" C")]),
        ([{"content": "B"}, {"content": "<thought>A", **MARK}, {"content": "</thought> C"}],
         [Delta("B"), Thought("A"), Delta(" C")]),
        ([{"content": "B", "thought": "", "reasoning": False}, {"content": "C", "extra_content": {"google": None}}],
         [Delta("BC")]),
    ],
)  # fmt: skip
def test_words_that_are_marked_as_thought_are_thought(
    deltas: list[dict[str, object]], events: list[Thought | Delta]
) -> None:
    reader = AnswerReader()
    for delta in deltas:
        reader.take(delta)
    reader.end()
    assert reader.events() == events


def test_a_blank_field_is_no_thought_and_a_later_thought_is_one() -> None:
    reader = AnswerReader()
    for delta in ({"reasoning_content": "\n"}, {"content": "B"}, {"reasoning_content": " A\n"}, {"content": "C"}):
        reader.take(delta)
    assert reader.events() == [Delta("B"), Thought("A\n"), Delta("C")]


def asking(name: str) -> ModelRequest:
    return ModelRequest([{"role": "user", "content": "what is 6 x 7"}], name)


@pytest.mark.parametrize("shape", [shape for shape in THOUGHTS if shape != "unclosed"])
async def test_every_shape_of_a_server_is_read_streamed_and_whole(model: Model, shape: str) -> None:
    thought, text, finish = "", "", None
    async for event in model.stream(asking(f"think:{shape}")):
        if isinstance(event, Finish):
            finish = event
        elif isinstance(event, Delta):
            text += event.text
        elif isinstance(event, Thought):
            if event.takes_back:
                thought, text = thought + text, ""
            thought += event.text
    assert thought.strip().rstrip(".") == "Pondering what is 6 x 7"
    assert text == "You said: what is 6 x 7"
    assert finish is not None
    assert finish.usage is not None
    assert finish.usage.reasoning_tokens
    whole = await model.complete(asking(f"think:{shape}"))
    assert (whole.thought.rstrip("."), whole.text) == ("Pondering what is 6 x 7", text)


async def test_a_thought_without_its_closing_tag_is_no_answer(model: Model) -> None:
    whole = await model.complete(asking("think-limit:unclosed"))
    assert (whole.thought, whole.text) == ("Pondering what is 6 x 7", "")


@pytest.mark.parametrize(
    "text", ["`a </think>`, ", "</think>, ", "a</think>, ", "a\n```\n</think>\n```\n", "<think></think>"]
)
def test_a_model_that_repeats_a_tag_blocks_nobody(text: str) -> None:
    begun = time.process_time()
    split(text * 8_000)
    splitter = Splitter()
    for _ in range(8_000):
        splitter.feed(text)
    # Without a memory of what came before, each tag is judged by all text before it: 12 s.
    assert time.process_time() - begun < 2
