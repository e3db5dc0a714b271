"""axe-core, from npm, which finds what keeps people from using a page. `python -m tests.support.axe` installs it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from tests.support.npm import installed

VERSION = "4.14.1"
_SCRIPT = Path("node_modules/axe-core/axe.min.js")
_SERIOUS = ("serious", "critical")
# axe-core does not judge the contrast of text on a gradient, as all tables have that can be scrolled sideways.
_RUN = """async (rules) => {
  const only = rules.length ? { runOnly: { type: "rule", values: rules } } : {}
  const plain = new CSSStyleSheet()
  plain.replaceSync("* { background-image: none !important }")
  document.adoptedStyleSheets.push(plain)
  const found = await axe.run(document, { ...only, resultTypes: ["violations"] })
  document.adoptedStyleSheets.pop()
  const node = ({ html, any }) => ({ html, said: any.map((one) => one.message) })
  return found.violations.map(({ id, impact, help, nodes }) => ({ id, impact, help, nodes: nodes.map(node) }))
}"""


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that an element of a page breaks."""

    rule: str
    element: str
    words: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.element}: {self.words}"


def install() -> Path:
    """The script.

    Raises:
        NpmMissing: it cannot be installed.
    """
    return installed(f"axe-core-{VERSION}", ["install", f"axe-core@{VERSION}"], _SCRIPT) / _SCRIPT


async def serious_findings(page: Page, script: Path, *rules: str) -> list[Finding]:
    """What axe-core finds on a page that is serious or critical.

    Args:
        page: of the browser.
        script: as `install` gives it.
        rules: only these; all if there is none.
    """
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(script.read_text("utf-8"))
    found: list[dict[str, Any]] = await page.evaluate(_RUN, list(rules))
    return [
        Finding(one["id"], node["html"][:200], "; ".join(node["said"])[:200] or one["help"])
        for one in found
        if one["impact"] in _SERIOUS
        for node in one["nodes"]
    ]


if __name__ == "__main__":
    print(install())
