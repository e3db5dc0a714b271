"""The shapes of assistants, their data sources and trainings, and how they are made of what the layer stores."""

import hashlib
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from datalayer import DataSource, InvalidAssistant, Training
from datalayer.records.assistants import Assistant, AssistantAccess, AssistantNumbers, AssistantSettings, AssistantUse
from datalayer.records.knowledge import TrainingState
from threadkeeper.knowledge.pairs import LONGEST_ANSWER, LONGEST_QUESTION
from threadkeeper.knowledge.wording import say_failure
from threadkeeper.web.api.problems import Problem
from threadkeeper.web.api.shapes import Strict
from threadkeeper.web.api.usage_shapes import Money, money
from threadkeeper.web.assistants.knowledge.states import SourceRow

ENGLISH = "en-US"
_SETTINGS = get_type_hints(AssistantSettings)
_MOST = 2**31 - 1

Version = Annotated[int, Field(ge=1, le=_MOST)]


class _Settings(Strict):
    model_config = ConfigDict(allow_inf_nan=False)


# The fields of the record, so that a new one is in the API too. `model_fields_set` says which were given.
GivenSettings: Any = create_model(
    "GivenSettings",
    __base__=_Settings,
    __doc__="What an assistant is. Fields that are left out stay, or have their default.",
    **{name: (hint, None) for name, hint in _SETTINGS.items()},  # type: ignore[call-overload]
)


class GivenAccess(Strict):
    """Who may use the assistant besides its owner and the admins: everyone, a role, or the named users."""

    kind: Literal["everyone", "users", "role"]
    role: Literal["reviewer", "admin"] | None = None
    users: Annotated[list[Annotated[str, Field(max_length=255)]], Field(max_length=1_000)] = Field(default_factory=list)


class ChangedAssistant(Strict):
    """Fields that are left out stay."""

    settings: GivenSettings | None = None
    access: GivenAccess | None = None
    owner: Annotated[str, Field(max_length=255)] | None = Field(None, description="A user; empty for none.")


class NewAssistant(ChangedAssistant):
    slug: Annotated[str, Field(max_length=200)] | None = Field(None, description="By default made of the name.")
    settings: GivenSettings


class ShownAccess(BaseModel):
    kind: str
    role: str | None
    users: list[str] = Field(description="Only for those who may edit the assistant, and not in lists.")


class ShownAssistant(BaseModel):
    slug: str
    version: int
    current_version: int
    settings: dict[str, Any]
    access: ShownAccess
    owner: str | None
    may_edit: bool
    picture: str | None = Field(description="The SHA-256 of its picture.")
    saved_at: str | None
    saved_by: str | None
    restored_from: int | None
    created_at: str | None


class AssistantPage(BaseModel):
    data: list[ShownAssistant]
    next_cursor: str | None


class Use(BaseModel):
    """The answers of a version; `unknown` of them said that the assistant does not know."""

    version: int | None
    threads: int
    answers: int
    up: int
    down: int
    unknown: int
    cost: Money | None


class Numbers(BaseModel):
    total: Use
    versions: list[Use]


class GivenPair(Strict):
    question: Annotated[str, Field(min_length=1, max_length=LONGEST_QUESTION)]
    answer: Annotated[str, Field(min_length=1, max_length=LONGEST_ANSWER)]


_Title = Annotated[str, Field(min_length=1, max_length=200)]
_Path = Annotated[str, Field(max_length=300)]
_Address = Annotated[str, Field(min_length=1, max_length=2_000)]
_Header = Annotated[str, Field(max_length=2_000)]


class NewPairs(Strict):
    """Questions and answers; they replace those of the same title."""

    kind: Literal["pairs"]
    title: _Title
    pairs: Annotated[list[GivenPair], Field(min_length=1, max_length=100_000)]


class NewUrl(Strict):
    """A web page or a file at an address, which a training fetches."""

    kind: Literal["url"]
    address: _Address
    title: Annotated[str, Field(max_length=200)] = ""
    header: _Header = Field("", description="The name of a variable KNOWLEDGE_HEADER_….")


class ApiOptions(Strict):
    """Paths in the answers of the API, as docs/fetching.md says."""

    records: _Path = ""
    columns: Annotated[list[_Path], Field(max_length=300)] = Field(default_factory=list)
    title: _Path = ""
    record_id: _Path = ""
    suggestion: _Path = ""
    next: _Path = ""
    page: _Path = ""


class NewApi(Strict):
    """An HTTP API that gives JSON, which a training fetches: each record is a document."""

    kind: Literal["api"]
    address: _Address
    title: Annotated[str, Field(max_length=200)] = ""
    header: _Header = ""
    options: ApiOptions = Field(default_factory=ApiOptions)


NewSource = Annotated[NewPairs | NewUrl | NewApi, Field(discriminator="kind")]


class GivenColumns(Strict):
    """What of a table is taken. By default, that is all columns of its first sheet."""

    columns: Annotated[list[Annotated[str, Field(max_length=1_000)]], Field(max_length=300)] = Field(
        default_factory=list
    )
    record_id: Annotated[str, Field(max_length=1_000)] = Field("", description="The column with the ids of records.")
    suggestion: Annotated[str, Field(max_length=1_000)] = Field("", description="The column with suggested questions.")
    sheet: Annotated[str, Field(max_length=1_000)] = Field("", description="Of a workbook; the first one by default.")


class ChangedSourceFields(Strict):
    """Fields that are left out stay."""

    title: _Title | None = None
    columns: GivenColumns | None = Field(None, description="Of a datasheet.")


class Source(BaseModel):
    id: str
    kind: str
    title: str
    options: dict[str, Any]
    byte_size: int | None
    sha256: str | None
    created_at: str | None
    updated_at: str | None
    state: Literal["new", "changed", "trained"] = Field(description="In the training that answers.")
    documents: int
    said: list[str] = Field(description="What that training left out, or why it took nothing.")


class SourcePage(BaseModel):
    data: list[Source]
    next_cursor: str | None


class ChangedSource(BaseModel):
    source: Source
    done: Literal["added", "replaced", "unchanged"]
    said: list[str] = Field(description="What of the file is left out.")
    training_id: str | None = Field(description="The training that the change started.")


class ShownTraining(BaseModel):
    """A training. While it runs, the numbers are what is done so far."""

    id: str
    number: int
    state: TrainingState
    is_current: bool = Field(description="Whether it answers.")
    created_at: str
    started_by: str | None
    started_at: str | None
    finished_at: str | None
    expected_sources: int
    done_sources: int
    documents: int
    failed_documents: int
    reused_documents: int
    passages: int
    tokens: int
    cost: Money | None
    error: str | None


class TrainingPage(BaseModel):
    data: list[ShownTraining]
    next_cursor: str | None


def access_given(given: GivenAccess) -> AssistantAccess:
    return AssistantAccess(given.kind, given.role, tuple(given.users))


def problem_of_assistant(error: InvalidAssistant) -> Problem:
    """The problem with each field of an assistant that is not valid."""
    errors = [
        (f"body.settings.{one.field}" if one.field in _SETTINGS else f"body.{one.field}", sentence)
        for one, sentence in zip(error.problems, error.sentences, strict=True)
    ]
    return Problem(422, "invalid", f"{error}.", errors)


def assistant_of(found: Assistant) -> ShownAssistant:
    settings = {name: getattr(found.settings, name) for name in _SETTINGS}
    settings["logit_bias"] = dict(found.settings.logit_bias)
    return ShownAssistant(
        slug=found.slug,
        version=found.version,
        current_version=found.current_version,
        settings=settings,
        access=ShownAccess(kind=found.access.kind, role=found.access.role, users=list(found.access.users)),
        owner=found.owner,
        may_edit=found.may_edit,
        picture=found.picture,
        saved_at=found.saved_at,
        saved_by=found.saved_by,
        restored_from=found.restored_from,
        created_at=found.created_at,
    )


def etag_of_assistant(found: Assistant) -> str:
    """The version, and the rights, which hold for all versions."""
    rights = repr((found.access.kind, found.access.role, sorted(found.access.users), found.owner))
    return f'"{found.version}-{hashlib.sha256(rights.encode()).hexdigest()[:16]}"'


def numbers_of(found: AssistantNumbers) -> Numbers:
    return Numbers(total=_use(found.total), versions=[_use(one) for one in found.versions])


def _use(found: AssistantUse) -> Use:
    same = ("version", "threads", "answers", "up", "down", "unknown")
    return Use(**{name: getattr(found, name) for name in same}, cost=money(found.cost))


def source_of(row: SourceRow) -> Source:
    source: DataSource = row.source
    return Source(
        id=source.id,
        kind=source.kind,
        title=source.title,
        options=source.options,
        byte_size=source.byte_size,
        sha256=source.sha256,
        created_at=source.created_at,
        updated_at=source.updated_at,
        state=row.state,  # type: ignore[arg-type]
        documents=row.documents,
        said=list(row.said),
    )


def training_of(found: Training, started_by: str | None) -> ShownTraining:
    counts = found.counts
    return ShownTraining(
        id=found.id,
        number=found.number,
        state=found.state,
        is_current=found.is_current,
        created_at=found.created_at,
        started_by=started_by,
        started_at=found.started_at,
        finished_at=found.finished_at,
        expected_sources=found.expected_sources,
        done_sources=found.done_sources,
        documents=counts.documents,
        failed_documents=counts.failed_documents,
        reused_documents=counts.reused_documents,
        passages=counts.passages,
        tokens=counts.tokens,
        cost=money(counts.cost),
        error=say_failure(found, ENGLISH) or None,
    )
