"""The project and the provider of a request, and the key of the provider from the environment."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from datalayer import ApiKey, DataLayerError, Project, Provider
from threadkeeper.chat.metering.cached import CachedValue
from threadkeeper.chat.providers import provider_name
from threadkeeper.gateway.refusals import Refused
from threadkeeper.settings.own_variables import is_own_variable

DEFAULT = "default"
_PROJECTS_SECONDS = 3.0
_ANTHROPIC, _OF_ANTHROPIC = "anthropic", ".anthropic.com"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request is addressed to: `/gateway/{project}/{provider}`."""

    project: Project
    provider: Provider
    base_url: str

    @property
    def name(self) -> str:
        """The provider's name, as prices have it: "openai", "azure", or the host."""
        return provider_name(self.base_url)

    @property
    def deployment(self) -> str | None:
        """The deployment in the rows of its calls."""
        return self.provider.deployment or self.provider.slug

    def secret(self) -> str | None:
        """The provider's key; None if none is configured.

        Raises:
            Refused: the environment variable is not set, not valid in a header, or the server's own.
        """
        name = self.provider.secret
        if name is None:
            return None
        if is_own_variable(name):
            sentence = f"{name} belongs to this server: give the key of the provider a variable of its own."
            raise Refused(503, "provider_key_refused", sentence)
        value = os.environ.get(name, "").strip()
        if not value:
            sentence = f"The key of the provider {self.provider.slug} is missing: set the environment variable {name}."
            raise Refused(503, "provider_key_missing", sentence)
        if not value.isascii() or not value.isprintable():
            raise Refused(503, "provider_key_invalid", f"The value of {name} cannot be sent in a header.")
        return value


class Places:
    """Finds projects and providers, and which keys may use them."""

    def __init__(
        self, list_projects: Callable[[], Awaitable[list[Project]]], default_project: Callable[[], Awaitable[str]]
    ) -> None:
        """`default_project` gives the id of the default project, which it makes if there is none."""
        self._projects = CachedValue("the projects", list_projects, _PROJECTS_SECONDS)
        self._default_project = default_project

    def begin_reading(self) -> None:
        """Begin to read the projects if they are old."""
        self._projects.begin_reading()

    async def find(self, project_slug: str, provider_slug: str, key: ApiKey) -> Place:
        """The project and its provider, if the key may use it.

        Raises:
            Refused: there is no such project or provider for this key, or the provider has no base URL.
        """
        projects = await self._all()
        project = next((one for one in projects if one.slug == project_slug), None)
        # One answer for both, so that a key does not learn which projects exist.
        if project is None or not may_use(key, project):
            sentence = f"The key {key.prefix}… has no project {project_slug!r}."
            raise Refused(404, "project_not_found", sentence)
        provider = next((one for one in project.providers if one.slug == provider_slug), None)
        if provider is None:
            slugs = ", ".join(one.slug for one in project.providers) or "none"
            sentence = f"The project {project_slug} has no provider {provider_slug!r}. Its providers: {slugs}."
            raise Refused(404, "provider_not_found", sentence)
        if provider.base_url is None:
            sentence = f"The provider {provider_slug} has no base_url: set it with `threadkeeper projects set`."
            raise Refused(503, "provider_incomplete", sentence)
        return Place(project, provider, provider.base_url)

    async def paying(self, key: ApiKey) -> Project:
        """The project that pays for calls of the key that name none: its own, or the default one.

        Raises:
            Refused: the projects cannot be read now, or the project of the key is gone.
        """
        wanted = key.project or DEFAULT
        found = next((one for one in await self._all() if one.slug == wanted), None)
        if found is not None:
            return found
        if key.project is not None:
            raise Refused(403, "project_not_found", f"The project {wanted!r} of the key {key.prefix}… is gone.")
        return Project(await self._default_project(), "Default", DEFAULT)

    async def anthropic(self, key: ApiKey) -> Place:
        """The provider of the key's projects that speaks Anthropic's language: named `anthropic`, or at its host.

        Raises:
            Refused: there is none, or the projects cannot be read now.
        """
        paying = await self.paying(key)
        others = [one for one in await self._all() if one.id != paying.id and may_use(key, one)]
        for project in (paying, *others):
            for provider in project.providers:
                host = (urlsplit(provider.base_url).hostname or "") if provider.base_url else ""
                if provider.base_url and (provider.slug == _ANTHROPIC or f".{host}".endswith(_OF_ANTHROPIC)):
                    return Place(project, provider, provider.base_url)
        sentence = (
            f"The projects of the key {key.prefix}… have no provider of Anthropic: make one with `threadkeeper "
            f"projects set PROJECT --provider slug=anthropic,base_url=https://api.anthropic.com,secret=VARIABLE`."
        )
        raise Refused(404, "provider_not_found", sentence)

    async def _all(self) -> list[Project]:
        try:
            return await self._projects.get()
        except (DataLayerError, TimeoutError):
            raise Refused(503, "storage_unavailable", "The projects cannot be read now. Please try again.") from None


def may_use(key: ApiKey, project: Project) -> bool:
    """Whether the key may call through the project: its own, or the default one and those of its owner."""
    if key.project is not None:
        return project.slug == key.project
    return project.slug == DEFAULT or project.owner == key.owner
