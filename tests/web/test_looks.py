"""The appearance of Chainlit's page: theme, translations, images, configuration."""

import json
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from threadkeeper.language.negotiation import LANGUAGES, about

ROOT = Path(__file__).parents[2]
CHAINLIT = Path(str((find_spec("chainlit") or pytest.fail("chainlit is not installed")).origin)).parent
CONFIG = tomllib.loads((ROOT / ".chainlit/config.toml").read_text(encoding="utf-8"))
THEME = json.loads((ROOT / "public/theme.json").read_text(encoding="utf-8"))
GIVEN_TO_THE_BROWSER = [
    *(path for path in sorted((ROOT / "public").rglob("*")) if path.suffix in {".css", ".js", ".json", ".svg"}),
    *(ROOT / f".chainlit/translations/{language}.json" for language in LANGUAGES),
    *sorted(ROOT.glob("chainlit*.md")),
    ROOT / ".chainlit/config.toml",
]

# Letters on grounds, as they meet on the page; WCAG 2.2 AA asks for 4.5.
LETTERS = [
    ("foreground", "background"),
    ("foreground", "muted"),
    ("card-foreground", "card"),
    ("popover-foreground", "popover"),
    ("primary-foreground", "primary"),
    ("secondary-foreground", "secondary"),
    ("accent-foreground", "accent"),
    ("destructive-foreground", "destructive"),
    ("muted-foreground", "background"),
    ("muted-foreground", "card"),
    ("muted-foreground", "muted"),
    ("muted-foreground", "accent"),
    ("primary", "background"),
    ("primary", "card"),
    ("primary", "accent"),
    ("primary", "sidebar-accent"),
    ("destructive", "background"),
    ("destructive", "popover"),
    ("sidebar-foreground", "sidebar-background"),
    ("sidebar-accent-foreground", "sidebar-accent"),
    ("sidebar-primary-foreground", "sidebar-primary"),
]
# Edges by which a field is known; AA asks for 3.
EDGES = [("input", "background"), ("input", "card"), ("ring", "background"), ("sidebar-ring", "sidebar-background")]


def luminance(colour: str) -> float:
    """Of "hue saturation% lightness%", as WCAG 2.2 defines it."""
    hue, saturation, lightness = (float(part.rstrip("%")) for part in colour.split())
    amplitude = saturation / 100 * min(lightness / 100, 1 - lightness / 100)

    def channel(offset: int) -> float:
        position = (offset + hue / 30) % 12
        value = lightness / 100 - amplitude * max(-1.0, min(position - 3, 9 - position, 1.0))
        return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)

    return 0.2126 * channel(0) + 0.7152 * channel(8) + 0.0722 * channel(4)


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("variant", ["light", "dark"])
def test_the_theme_can_be_read(variant: str) -> None:
    variables = THEME["variables"][variant]
    for needed, pairs in ((4.5, LETTERS), (3.0, EDGES)):
        for one, other in pairs:
            found = contrast(variables[f"--{one}"], variables[f"--{other}"])
            assert found >= needed, f"{variant}: {one} on {other} is {found:.2f}"


def test_the_theme_sets_every_variable_of_chainlit() -> None:
    # Switching sets what the other theme names and unsets nothing: a variable in one alone would stay behind.
    assert THEME["variables"]["light"].keys() == THEME["variables"]["dark"].keys()
    style_sheet = next((CHAINLIT / "frontend/dist/assets").glob("index-*.css")).read_text(encoding="utf-8")
    (declared,) = [block for block in re.findall(r":root\{([^}]*)\}", style_sheet) if "--sidebar-background" in block]
    assert set(re.findall(r"(--[\w-]+):", declared)) == set(THEME["variables"]["light"])
    assert THEME["custom_fonts"] == []


@pytest.mark.parametrize("path", GIVEN_TO_THE_BROWSER, ids=lambda path: path.name)
def test_nothing_loads_from_other_hosts(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for imported in re.findall(r'@import url\("([^"]+)"\);', text):
        assert (path.parent / imported).resolve() in GIVEN_TO_THE_BROWSER, "a style sheet of this server"
    text = re.sub(r'@import url\("[^"]+"\);', "", text)
    named = set(re.findall(r"(?:https?:|wss?:)//[^\s\"'<>)]+|url\(|@import", text))
    assert named <= {"http://www.w3.org/2000/svg", "url("}
    if "url(" in named:
        assert set(re.findall(r"url\(.", text)) == {"url(#"}


def test_images_are_where_chainlit_looks_for_them() -> None:
    assert sorted(path.name for path in (ROOT / "public").glob("favicon.*")) == ["favicon.svg"]
    for name in ("logo_light.*", "logo_dark.*", f"avatars/{CONFIG['UI']['name'].lower()}.*"):
        assert len(list((ROOT / "public").glob(name))) == 1, name
    for key in ("custom_css", "custom_js", "login_page_image", "custom_meta_image_url"):
        assert (ROOT / CONFIG["UI"][key].lstrip("/")).is_file(), key


def leaves(words: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in words.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


@pytest.mark.parametrize("language", [language for language in LANGUAGES if about(language).is_complete])
def test_every_text_of_chainlit_is_translated(language: str) -> None:
    def words(directory: Path, name: str) -> dict[str, str]:
        return dict(leaves(json.loads((directory / f"{name}.json").read_text(encoding="utf-8"))))

    theirs, ours = words(CHAINLIT / "translations", "en-US"), words(ROOT / ".chainlit/translations", language)
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert ours[key].strip()
        assert re.findall(r"\{\{\w+\}\}", ours[key]) == re.findall(r"\{\{\w+\}\}", value), key
    assert "Threadkeeper" in ours["auth.login.title"]
    # These stand before the names of tools and "Thought for 3 s": no word fits both.
    assert (ours["chat.messages.status.using"], ours["chat.messages.status.used"]) == ("…", "✓")


def test_the_configuration_is_complete_and_has_no_unknown_keys() -> None:
    from chainlit.config import FeaturesSettings, ProjectSettings, UISettings  # noqa: PLC0415

    left_to_the_defaults = {
        "language",  # the browser's
        "github",
        "custom_build",  # set by the application
        "transports",
        "lc_cache_path",
        "servers",
    }

    def check(section: dict[str, Any], model: type[BaseModel]) -> None:
        # Chainlit ignores a key that it does not know, so a slip of the pen would be a setting that does nothing.
        assert section.keys() <= model.model_fields.keys()
        assert model.model_fields.keys() - section.keys() <= left_to_the_defaults
        model.model_validate(section)
        for name, value in section.items():
            annotation = model.model_fields[name].annotation
            candidates = [annotation, *getattr(annotation, "__args__", ())]
            for candidate in candidates:
                if isinstance(value, dict) and isinstance(candidate, type) and issubclass(candidate, BaseModel):
                    check(value, candidate)

    check(CONFIG["project"], ProjectSettings)
    check(CONFIG["features"], FeaturesSettings)
    check(CONFIG["UI"], UISettings)
    assert CONFIG.keys() == {"project", "features", "UI", "meta"}
    # A newer Chainlit has newer settings: read its default file and say here for which one ours was written.
    assert CONFIG["meta"]["generated_by"].split(".")[:2] == version("chainlit").split(".")[:2]


def test_the_configuration_enables_nothing_unsafe() -> None:
    assert CONFIG["project"]["allow_origins"] == []
    assert CONFIG["features"]["unsafe_allow_html"] is False
    assert CONFIG["features"]["mcp"] == {"enabled": False, "user_servers": {"enabled": False, "allowed_urls": []}}
    assert "*/*" not in CONFIG["features"]["spontaneous_file_upload"]["accept"]
