"""Formulas and amounts of money in Markdown, as Chainlit's page gets them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadkeeper.formulas.page import PageText, for_page

D = "&#0036;"
PIECES = (
    *("$", "$$", "\\(", "\\)", "\\[", "\\]", "\n", "\n\n", "\r\n", "`", "```", "~~~", "a", "5", " ", "中", "\\", "*"),
    *("- ", "1. ", "> ", "# ", "    ", "|", "---", "===", "<b>", "<div>", "https://x/", "[x](", ")"),
)


def streamed(text: str, size: int) -> str:
    """What the page shows of an answer that arrives in pieces of this many characters."""
    page_text, shown = PageText(), ""
    for begin in range(0, len(text), size):
        more, is_whole = page_text.add(text[begin : begin + size])
        shown = more if is_whole else shown + more
    return shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It costs $5 for one month and $50 for a year.", f"It costs {D}5 for one month and {D}50 for a year."),
        ("US$5-10 or US$20-30, $5/$50, ($7)($8)", f"US{D}5-10 or US{D}20-30, {D}5/{D}50, ({D}7)({D}8)"),
        ("**$5** and *$6*, ~~$7~~", f"**{D}5** and *{D}6*, ~~{D}7~~"),
        ("$x$, $a + b$ and $5$", "$x$, $a + b$ and $5$"),
        ("$ x$ and $x $", f"{D} x{D} and {D}x {D}"),
        ("价格是$5，公式$x$很好，共$6。", f"价格是{D}5，公式$x$很好，共{D}6。"),
        ("速度$v$是5$、6$", f"速度$v$是5{D}、6{D}"),
        ("\\$5 and \\$6", "\\$5 and \\$6"),
        ("`$5` and ``$`6$``, $7 `$x`", f"`$5` and ``$`6$``, {D}7 `$x`"),
        ("| $5 | $x$ |\n|--|--|\n| $6 | `$a` \\| $7 |", f"| {D}5 | $x$ |\n|--|--|\n| {D}6 | `$a` \\| {D}7 |"),
        ("- $5\n  - $6\n> $7 and\n> $8", f"- {D}5\n  - {D}6\n> {D}7 and\n> {D}8"),
        ("# $5 and $6\n", f"# {D}5 and {D}6\n"),
        ("```sh\necho $5 $6\n```\n\n    $5 $6\n", "```sh\necho $5 $6\n```\n\n    $5 $6\n"),
        ("see https://x/?$a=1&$b=2 for $5 or $6", f"see https://x/?$a=1&$b=2 for {D}5 or {D}6"),
        ("<div>$5 or $6</div>", "<div>$5 or $6</div>"),
        ("$$\nx\n$$ \n\n$$y$$", "$$\nx\n$$ \n\n$$y$$"),
        ("\\(a+b\\) and \\( c \\)", "$$$a+b$$$ and $$$ c $$$"),
        ("\\\\(a\\\\) and \\(a", "\\\\(a\\\\) and \\(a"),
        ("`\\(a\\)` and\n\n    \\(a\\)\n", "`\\(a\\)` and\n\n    \\(a\\)\n"),
        ("Then \\[x^2\\] holds.", "Then $$$\\displaystyle x^2$$$ holds."),
        ("\\[\nx\n+ y\n\\]", "$$$\nx\n+ y\n$$$"),
        ("1. \\[ x \\\\\n   y \\]", "1. $$$\n    x \\\\\n   y \n   $$$"),
        ("> \\[\n> x\n> \\]", "> $$$\n> x\n> $$$"),
        ("\\[\nx\n\ny\n\\]", "\\[\nx\n\ny\n\\]"),
        ("$a\\$b$ and $x$\\(y\\)", "$$$$a\\$b$$$$ and $x$\u2060$$$y$$$"),
        ("no formula at all: \\{ } \\] \\)", "no formula at all: \\{ } \\] \\)"),
    ],
)
def test_amounts_are_text_and_formulas_are_formulas(text: str, expected: str) -> None:
    assert for_page(text) == expected
    for size in (1, 2, 7):
        assert streamed(text, size) == expected


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), st.integers(1, 5))
def test_a_streamed_answer_is_shown_as_the_whole_one(text: str, size: int) -> None:
    assert streamed(text, size) == for_page(text)


def test_only_a_changed_meaning_sends_the_whole_text_again() -> None:
    page_text = PageText()
    pieces = ["The price is ", "$", "5 a month", " or ", "$5", "0 a year, ", "and ", "$x", "$", " is", " free."]
    sent = [page_text.add(piece) for piece in pieces]
    assert [whole for _, whole in sent].count(True) <= 2, sent
    assert page_text.add(" Words.") == (" Words.", False)


def test_a_long_answer_with_amounts_is_rewritten_quickly() -> None:
    text = "".join(f"Plan {number} costs ${number} a month, and \\(x_{number}\\) more.\n\n" for number in range(400))
    began = time.thread_time()
    assert streamed(text, 20) == for_page(text)
    # 1,200 pieces; 0.35 s on the machine that this was written on.
    assert time.thread_time() - began < 3


@pytest.mark.parametrize(
    "piece", ["$a", "\\(", "\\[ ", "\\[a\n", "`$", "$$x ", "\\[\n\\] x\n", "| $a\n", "<a $", "$5中"]
)
def test_unclosed_formulas_take_linear_time(piece: str) -> None:
    began = time.thread_time()
    for_page(piece * (50_000 // len(piece)))
    assert time.thread_time() - began < 3
