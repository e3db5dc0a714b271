"""Code and formulas in Markdown: rendered as in the chat, and harmless."""

import itertools
import re
import time
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.support.pages import Element, read_page
from tests.support.safe_pages import runs_nothing
from threadkeeper.formulas import mathml
from threadkeeper.language import cjk
from threadkeeper.web.pages.assets import Assets
from threadkeeper.web.rendering import highlight
from threadkeeper.web.rendering.markdown import as_html, as_preview

HOSTILE = "</code></pre><script>alert(1)</script><img src=x onerror=alert(2)>"


def shown(text: str) -> Element:
    page = read_page(str(as_html(text)))
    runs_nothing(page)
    assert not page.all("script") and not page.all("style") and not page.all("img")
    for element in every(page):
        assert not {"style", "href", "id"} & element.attributes.keys(), element
    return page


def every(page: Element) -> list[Element]:
    below = [one for one in page.children if isinstance(one, Element)]
    return [*below, *(deeper for one in below for deeper in every(one))]


def fence(language: str, code: str) -> str:
    return f"~~~~{language}\n{code}\n~~~~\n"


def test_the_columns_of_a_table_are_aligned_by_classes() -> None:
    page = shown("| a | b | c |\n|:--|:-:|--:|\n| 1 | 2 | 3 |\n")
    for tag in ("th", "td"):
        assert [one.attributes["class"] for one in page.all(tag)] == ["left", "center", "right"]


# Chinese, Japanese and Korean


def links(text: str) -> list[tuple[str, str]]:
    found = re.findall(r'<a href="([^"]*)"[^>]*>([^<]*)</a>', str(as_html(text)))
    return [(unquote(address), shown) for address, shown in found]


@pytest.mark.parametrize("mark", "，。！？；：、（）《》〈〉「」『』【】〔〕［］｛｝｜～“”‘’…—．｡､")
def test_a_bare_url_ends_before_full_width_punctuation(mark: str) -> None:
    url = "https://example.org/a?b=c"
    for after in ("", "谢谢", mark, "thanks", " thanks"):
        text = f"请看{url}{mark}{after}"
        assert links(text) == [(url, url)], text
        assert re.sub("<[^>]*>", "", str(as_html(text))).strip() == text


def test_bare_urls_in_chinese_text_are_found() -> None:
    for text in (
        "手册（https://example.org/a）在此",
        "（https://example.org/a）",
        "“https://example.org/a”",
        "请看https://example.org/a.。",
        "**https://example.org/a**，",
        "- 网址：https://example.org/a；",
    ):
        assert links(text) == [("https://example.org/a", "https://example.org/a")], text
    assert [address for address, _ in links("https://example.org、http://example.net/（旧）")] == [
        "https://example.org",
        "http://example.net/",
    ]
    assert links("mailto:a@example.org。谢谢") == [("mailto:a@example.org", "mailto:a@example.org")]


def test_letters_after_a_bare_url_are_a_part_of_it() -> None:
    for url in (
        "https://zh.wikipedia.org/wiki/北京",
        "https://example.org/a谢谢",
        "https://example.org/ジョン・レノン",
    ):
        assert [address for address, _ in links(f"{url}。")] == [url]


def test_urls_in_latin_text_and_in_markdown_links_are_unchanged() -> None:
    for url in ("https://example.org/a_(b)", "https://example.org/a,b;c!d?e", "https://example.org:8080/#a"):
        assert links(f"See {url}. Thanks") == [(url, url)]
    for text in ("[手册](https://example.org/a。谢谢)", "[手册](<https://example.org/a。谢谢>)"):
        assert links(text) == [("https://example.org/a。谢谢", "手册")]
    assert links("<https://example.org/a。谢谢>")[0][0] == "https://example.org/a。谢谢"


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("**粗体**文字", "<strong>粗体</strong>文字"),
        ("**退款：**请联系客服", "<strong>退款：</strong>请联系客服"),
        ("文字**粗体：**文字", "文字<strong>粗体：</strong>文字"),
        ("**甲：**一，**乙：**二。", "<strong>甲：</strong>一，<strong>乙：</strong>二。"),
        ("**甲**，**乙**。**丙。**丁", "<strong>甲</strong>，<strong>乙</strong>。<strong>丙。</strong>丁"),
        ("这是**“重要”**的", "这是<strong>“重要”</strong>的"),
        ("请看**《书》**第一章", "请看<strong>《书》</strong>第一章"),
        ('点击**"确定"**按钮', "点击<strong>&quot;确定&quot;</strong>按钮"),
        ("使用**`foo`**函数", "使用<strong><code>foo</code></strong>函数"),
        ("约**+5%**左右", "约<strong>+5%</strong>左右"),
        ("**共计：**100元", "<strong>共计：</strong>100元"),
        ("**状态：**OK", "<strong>状态：</strong>OK"),
        ("API**（接口）**v2", "API<strong>（接口）</strong>v2"),
        ("**これは「太字」**です", "<strong>これは「太字」</strong>です"),
        ("**한국어(Korean)**는", "<strong>한국어(Korean)</strong>는"),
        ("*斜体*。", "<em>斜体</em>。"),
        ("文字*斜体：*文字", "文字<em>斜体：</em>文字"),
        ("***退款：***请", "<em><strong>退款：</strong></em>请"),
        ("**甲，*乙。*丙**丁", "<strong>甲，<em>乙。</em>丙</strong>丁"),
        ("~~删除：~~请", "<s>删除：</s>请"),
        ("[**退款：**请](/a)", '<a href="/a" rel="noopener noreferrer nofollow" target="_blank">'
         "<strong>退款：</strong>请</a>"),
        # No emphasis:
        ("价格*，数量*，单价", "价格*，数量*，单价"),
        ("价格**，便宜", "价格**，便宜"),
        ("甲 ** 乙 ** 丙", "甲 ** 乙 ** 丙"),
        ("5*（3+2）*2", "5*（3+2）*2"),
        ("退款_：_请", "退款_：_请"),
        ("\\*\\*退款：\\*\\*请", "**退款：**请"),
        ("`**退款：**请`", "<code>**退款：**请</code>"),
    ],
)  # fmt: skip
def test_emphasis_beside_letters_of_chinese_japanese_and_korean(text: str, html: str) -> None:
    assert str(as_html(text)) == f"<p>{html}</p>\n"


@pytest.mark.parametrize("text", ["2 ** 3 ** 4", "a**b", "a*b", "**a:**b", "a**(b)**c", '**"a"**b', "a*, b*, c"])
def test_asterisks_in_latin_text_stay_where_commonmark_sees_no_emphasis(text: str) -> None:
    assert re.sub("&quot;", '"', str(as_html(text))) == f"<p>{text}</p>\n"


@given(st.text("ab1é .,:!()[]“”’—\"'$\\`*_~\n", max_size=40))
def test_emphasis_in_latin_text_is_that_of_commonmark(text: str) -> None:
    plain = MarkdownIt("commonmark", {"html": False}).enable("strikethrough")
    relaxed = MarkdownIt("commonmark", {"html": False}).enable("strikethrough")
    cjk.emphasis_beside_letters(relaxed)
    assert relaxed.render(text) == plain.render(text)


# Code


def test_code_is_highlighted_in_its_language() -> None:
    page = shown(fence("python", '@cache\ndef half(n: int) -> float:\n    return n / 2  # "half"'))
    block = page.one("pre")
    assert block.attributes == {"data-language": "python"}
    classes = {one.text: one.attributes["class"] for one in block.all("span")}
    assert (classes["def"], classes["half"], classes['# "half"']) == ("hl-k", "hl-nf", "hl-c1")
    assert "".join(texts(block)) == '@cache\ndef half(n: int) -> float:\n    return n / 2  # "half"\n'


def test_code_is_shown_unchanged() -> None:
    for language in ("python", "html", "json", "bash", "nobody-knows", ""):
        code = "\n\n  a <b> & 'c'\t\n\n\n"
        assert "".join(texts(shown(fence(language, code)).one("pre"))) == code + "\n", language


def texts(element: Element) -> list[str]:
    return [text for one in element.children for text in ([one] if isinstance(one, str) else texts(one))]


def test_a_language_is_known_by_all_its_names() -> None:
    for name in (*highlight.LANGUAGES, "py", "JS", "c++", "sh", "yml", "ts", "golang", "dockerfile"):
        assert 'class="hl-' in str(as_html(fence(name, 'if (x) { return "y"; } # 1 + 2 <a b="c">\n+FROM x'))), name


@pytest.mark.parametrize(
    "language",
    (
        '"><script>alert(1)</script>',
        "' onmouseover='alert(1)",
        "python\" style='color:red",
        "python&quot;&gt;&lt;script&gt;",
        "../../etc/passwd",
        "\\<script\\>",
        "x" * 10_000,
        "__import__('os')",
        "html+php",
    ),
)
def test_a_hostile_language_name_is_only_text(language: str) -> None:
    block = shown(fence(language, HOSTILE)).one("pre")
    assert set(block.attributes) <= {"data-language"}
    assert len(block.attributes.get("data-language", "")) <= 30
    assert HOSTILE in "".join(texts(block))


def test_hostile_code_is_only_code_in_every_language() -> None:
    for language in ("", "nobody-knows", *highlight.LANGUAGES):
        block = shown(fence(language, f'"{HOSTILE}"\n<!-- {HOSTILE} -->\n\x00&lt;script&gt;')).one("pre")
        assert "<script>alert(1)</script>" in "".join(texts(block)), language
        assert {one.tag for one in every(block)} <= {"code", "span"}, language


def test_long_code_is_not_highlighted(monkeypatch: pytest.MonkeyPatch) -> None:
    # The length alone decides here: a busy machine may take longer than the time of a block.
    monkeypatch.setattr(highlight, "MOST_SECONDS", 60.0)
    assert shown(fence("python", "x = 1\n" * (highlight.LONGEST // 6 - 1))).all("span")
    long = shown(fence("python", "x = 1\n" * (highlight.LONGEST // 6 + 1))).one("pre")
    assert not long.all("span")
    assert long.attributes == {"data-language": "python"}


def test_code_that_takes_too_long_is_not_highlighted() -> None:
    started = time.thread_time()
    assert "<span" not in highlight.code_block("/" * highlight.LONGEST, "c", highlight.ColourTime())
    assert time.thread_time() - started < 5 * highlight.MOST_SECONDS


def test_code_with_a_long_gap_is_not_highlighted() -> None:
    for gap in (" ", "\n", "\t", " \n", "\f"):
        started = time.thread_time()
        block = shown(fence("c", "int a" + gap * (9_000 // len(gap)) + "(")).one("pre")
        assert time.thread_time() - started < 1, "one expression takes ten seconds for it, and no other thread runs"
        assert not block.all("span")
    assert shown(fence("c", "int a" + " " * 150 + "(")).all("span")


def test_scala_is_not_highlighted_because_backslashes_take_exponential_time() -> None:
    assert not shown(fence("scala", 'val a = "' + "\\" * 24)).all("span")


def test_all_blocks_of_a_page_share_the_time_for_highlighting() -> None:
    slow, usual = fence("csharp", "a\n" * 4_000), fence("python", "def half(): ...")
    first, *_, last = shown(usual + slow * 6 + usual).all("pre")
    assert first.all("span") and not last.all("span")
    left = highlight.ColourTime()
    as_html(usual, left)
    assert highlight.MOST_SECONDS_OF_PAGE - 0.5 < left.left < highlight.MOST_SECONDS_OF_PAGE
    assert "<span" not in as_html(usual, highlight.ColourTime(left=0))


def test_highlighting_follows_light_and_dark() -> None:
    style = Assets().code.content.decode()
    media = re.findall(r"@media ([^{]*)\{(:root[^{]*)\{", style)
    assert media == [
        ("screen and (prefers-color-scheme:light)", ":root:not([data-theme=dark])"),
        ("screen and (prefers-color-scheme:dark)", ":root:not([data-theme=light])"),
        ("screen", ":root[data-theme=light]"),
        ("print", ":root"),
    ]
    assert ":root[data-theme=dark]{" in style
    assert style.count("{") == style.count("}")
    assert not re.findall(r"url|@import|expression|[^\x20-\x7e\n]", style)
    assert set(re.findall(r"([a-z-]+):[^{};]*[;}]", re.sub(r"@media[^{]*", "", style))) == {
        *("color", "font-weight", "font-style"),
    }


# Formulas


def test_formulas_are_recognised_as_in_the_chat() -> None:
    page = shown("Where $a^2 + b^2 = c^2$ and $$\\frac{1}{2}$$ are in the line.\n\n$$\n\\sum_{i=1}^n i < x\n$$\n\nEnd.")
    in_line, half, apart = page.all("math")
    assert [one.attributes["display"] for one in (in_line, half, apart)] == ["inline", "inline", "block"]
    assert len(in_line.all("msup")) == 3
    assert half.one("mfrac").text == "1 2"
    assert "∑" in apart.text and "<" in apart.text
    assert page.one("div", class_="formula").all("math")
    assert page.all("p")[-1].text == "End."


def test_text_that_is_no_formula_is_unchanged() -> None:
    for text in ("It costs $5.", "`$a$`", "~~~\n$$\nx\n$$\n~~~", "\\$a\\$", "$ $", "$$$$", "$"):
        assert not shown(text).all("math"), text
    assert shown("It costs $5.").text == "It costs $5."
    assert shown("`$a$`").one("code").text == "$a$"


def test_an_invalid_formula_is_shown_as_tex() -> None:
    for tex in (
        "\\frac{1}",
        "a_b_c",
        "\\left( x",
        "\\begin{matrix} a",
        "{" * 900 + "}" * 900,
        "x" * 2_001,
        "\\right)",
        "\\foo{x}",
        "a & b",
    ):
        page = shown(f"before ${tex}$ after")
        assert not page.all("math"), tex[:30]
        assert page.one("code").text == tex


@pytest.mark.parametrize(
    "tex",
    (
        "\\href{javascript:alert(1)}{x}",
        "\\href{https://evil.example}{x}",
        "\\style{background:url(https://evil.example)}{x}",
        "\\text{<script>alert(1)</script>}",
        "\\text{&lt;script&gt;alert(1)&lt;/script&gt;}",
        "\\text{&#x3c;script&#x3e;alert(1)}",
        "<script>alert(1)</script>",
        "\\mathrm{<img src=x onerror=alert(1)>}",
        '\\color{red" onclick="alert(1)}{x}',
        '\\textcolor{"><script>alert(1)</script>}{x}',
        '\\hspace{1em" onclick="alert(1)}x',
        "\\class{x}{y} \\cssId{x}{y} \\id{x}{y} \\data{x}{y}",
        "\\includegraphics{https://evil.example/x.png} \\url{javascript:alert(1)}",
        "\\begin{array}{<script>} a \\end{array}",
        "\\begin{<script>} a \\end{<script>}",
        "\\operatorname{<script>} \\unicode{x3c}script\\unicode{x3e}",
        "\\hbox{a $<script>$ b} \\fbox{<b>}",
        "\\left<script\\right>",
        "]]><!-- <script> --><![CDATA[",
    ),
)
def test_a_hostile_formula_is_only_text(tex: str) -> None:
    for text in (f"${tex}$", f"$$\n{tex}\n$$", f"[${tex}$](https://example.org)", f"| ${tex}$ |\n|---|\n"):
        page = read_page(str(as_html(text)))
        runs_nothing(page)
        tags = {one.tag for one in every(page)}
        assert tags <= {*mathml.ELEMENTS, "p", "code", "div", "a", "table", "thead", "tr", "th"}, text
        for element in (one for math in page.all("math") for one in (math, *every(math))):
            assert element.attributes.keys() <= mathml.ATTRIBUTES.keys(), text
            assert not re.search(r"[:;()\"'<>/\\]", "".join(element.attributes.values())), text


def test_a_formula_does_not_cover_other_text() -> None:
    for size in ("-50em", "99em", "-1.5em", "1e9em", "100vw", "calc(9em)"):
        for tex in (f"\\hspace{{{size}}}x", f"\\rule{{{size}}}{{1em}}", f"\\kern{{{size}}} x", f"\\above{{{size}}} x"):
            assert f'="{size}"' not in str(as_html(f"${tex}$")), tex
    assert 'width="-0.167em"' in str(as_html("$a\\!b$")), "a thin space back is usual"


def test_a_formula_with_definitions_is_shown_as_tex() -> None:
    doubled = "".join(
        f"\\def\\{after}{{\\{one}\\{one}}}" for one, after in itertools.pairwise("abcdefghijklmnopqrstuvwxyz")
    )
    for tex in (
        f"\\def\\a{{x}}{doubled}\\z",
        "\\def\\a{\\a\\a}\\a",
        "\\newcommand{\\a}{\\a\\a}\\a",
        "\\newenvironment{a}{\\begin{a}}{\\end{a}}\\begin{a}x\\end{a}",
        "\\DeclareMathOperator{\\a}{x}\\a",
        "\\hbox{$\\def\\a{\\a\\a}\\a$}",
    ):
        assert shown(f"$${tex}$$").one("code").text == tex


def test_usual_formulas_of_answers_are_rendered() -> None:
    for tex in (
        *("\\begin{aligned} a &= b \\\\ &= c \\end{aligned}", "\\begin{align*} a &= b \\end{align*}"),
        *("\\begin{cases} 1 & x > 0 \\\\ 0 \\end{cases}", "\\begin{pmatrix} a & b \\\\ c & d \\end{pmatrix}"),
        *("\\begin{gathered} a \\\\ b \\end{gathered}", "\\begin{array}{cc} a & b \\end{array}", "\\boxed{42}"),
        *(
            "\\text{if } x",
            "\\hat{\\beta} = (X^\\top X)^{-1}",
            "\\lim_{x \\to 0} \\frac{\\sin x}{x}",
            "50\\%",
            "a \\& b",
        ),
        *(
            "\\operatorname{argmax}_x",
            "\\mathbb{R}^n",
            "\\left( \\frac12 \\right)",
            "\\sqrt[3]{x}",
            "\\underbrace{a}_{b}",
        ),
    ):
        for text in (f"${tex}$", f"$$\n{tex}\n$$"):
            assert shown(text).all("math"), tex
            assert not shown(text).all("code"), tex


def test_unclosed_dollars_are_scanned_once() -> None:
    for text in ("$$x\n\n", "- $$a\n", "$$ a$", "$a", "> $$\n", "![$a$]() $b$ ", "$ $$ "):
        started = time.thread_time()
        as_html(text * (50_000 // len(text)))
        assert time.thread_time() - started < 4, text


def test_formulas_are_rendered_up_to_a_number_of_characters() -> None:
    page = shown(f"$x + {'y' * 94}$ " * 200)
    drawn = len(page.all("math"))
    assert drawn == mathml.MOST_CHARACTERS // 98
    assert len(page.all("code")) == 200 - drawn


def test_amounts_of_money_are_text_and_brackets_are_formulas() -> None:
    page = shown("It costs $5 for one month and $50 for a year; **$6** US$5-10, 价格是$7，公式$x$很好。")
    assert len(page.all("math")) == 1
    assert "costs $5 for one month and $50 for a year; $6 US$5-10, 价格是$7，公式" in page.text
    page = shown(
        "\\(a+b\\) and \\[c\\] here, `\\(d\\)`\n\n\\[\ne\n+ f\n\\]\n\n| $8 | $g$ |\n|---|---|\n| $9 | \\(h\\) |\n"
    )
    assert len(page.all("math")) == 5
    assert "\\(d\\)" in page.text
    assert page.text.count("\\") == 2, "no other backslash is left"
    assert str(as_html("see https://example.org/?$a=1&$b=2 or $5")).count("<a ") == 1
    assert "math" not in str(as_html("see https://example.org/?$a=1&$b=2 or $5"))


@pytest.mark.parametrize(
    ("text", "preview"),
    [
        ("A **demo**: [no](https://example.org) model\n\n*Stopped here.*", "A demo: no model Stopped here."),
        ("# Title\n- one\n- `two*`\n\n```py\nx = 1\n```", "Title one two* x = 1"),
        ("**bo**ld 5 * 3 * 2, snake_case_name and $x_1$", "bold 5 * 3 * 2, snake_case_name and x_1"),
        ("<b>bold</b>", "<b>bold</b>"),
        ("cut **in the mid", "cut **in the mid"),
        ("---", "---"),
        ("", ""),
        (None, ""),
    ],
)
def test_a_preview_has_the_words_without_the_marks(text: str | None, preview: str) -> None:
    assert as_preview(text) == preview
