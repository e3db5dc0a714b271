"""Citations in answers: which brackets are some, and what the page gets."""

import pytest

from threadkeeper.citations import cited_numbers, element_name, for_page

ONE, TWO = element_name(1), element_name(2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("At six [1]. At eight[2].", f"At six {ONE}. At eight{TWO}."),
        ("At six [1][2]", f"At six {ONE}{TWO}"),
        ("At six [1, 2] and [2;1]", f"At six {ONE}{TWO} and {TWO}{ONE}"),
        ("六点【1】，八点［2］。", f"六点{ONE}，八点{TWO}。"),
        ("A note [^1]", f"A note {ONE}"),
        ("# Title [1]\n\n- item [2]\n\n> quoted [1]", f"# Title {ONE}\n\n- item {TWO}\n\n> quoted {ONE}"),
        ("| a |\n| --- |\n| six [1] |", f"| a |\n| --- |\n| six {ONE} |"),
        ("It costs $5 [1] and $6 [2].", f"It costs $5 {ONE} and $6 {TWO}."),
        # Not a passage.
        ("[3] [0] [12] [1, 3] [one] [] [1", "[3] [0] [12] [1, 3] [one] [] [1"),
        # Links, definitions, code, formulas and escaped brackets.
        ("[1](https://a.example) ![1](x.png)", "[1](https://a.example) ![1](x.png)"),
        ("https://a.example/[1] <a href='[1]'>", "https://a.example/[1] <a href='[1]'>"),
        ("[1]: https://a.example", "[1]: https://a.example"),
        ("`a[1]` and ``b [2]``", "`a[1]` and ``b [2]``"),
        ("```\nx[1]\n```\n\nsix [1]", f"```\nx[1]\n```\n\nsix {ONE}"),
        ("text\n\n    x[1]\n", "text\n\n    x[1]\n"),
        ("```python\nx[1]", "```python\nx[1]"),
        ("$x[1]$ and \\(y[2]\\) and $$z[1]$$", "$x[1]$ and \\(y[2]\\) and $$z[1]$$"),
        ("\\[1]", "\\[1]"),
    ],
)
def test_only_brackets_that_name_a_passage_are_citations(text: str, expected: str) -> None:
    assert for_page(text, {"cited": [1, 2]}) == expected


def test_passages_are_cited_in_the_order_of_the_answer() -> None:
    assert cited_numbers("[2] then [1] and [2], `[3]`", range(1, 4)) == [2, 1]
    assert cited_numbers("no citation", range(1, 4)) == []


@pytest.mark.parametrize("metadata", [None, {}, {"cited": []}, {"cited": "1"}, {"cited": [None, "1"]}, {"sources": 3}])
def test_without_elements_brackets_stay_text(metadata: object) -> None:
    assert for_page("At six [1].", metadata) == "At six [1]."


def test_what_is_said_of_passages_that_are_not_cited_stands_below() -> None:
    assert for_page("At six.\n", {"sources": "Found: a.txt"}) == "At six.\n\n*Found: a.txt*"


@pytest.mark.parametrize("piece", ["[1", "[1]", "`[1]", "[[", "$[1]$", "【1】"])
def test_a_long_answer_takes_no_time(piece: str) -> None:
    for_page(piece * (20_000 // len(piece)), {"cited": [1]})
