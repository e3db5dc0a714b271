"""What an assistant knows, in a sentence and in the rows of its sources."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datalayer import SYSTEM, DataSource, KnowledgeState, ListedSource, SourceResult, acting_as
from datalayer.chainlit_layer import ChainlitLayer
from threadkeeper.knowledge.loaders.base import Taken
from threadkeeper.knowledge.loading import LoadLimits
from threadkeeper.knowledge.wording import say_fetch, say_refused, say_taken
from threadkeeper.web.pages import formats
from threadkeeper.web.pages.sentences import Say


async def states_of(layer: ChainlitLayer, slugs: Sequence[str]) -> Mapping[str, KnowledgeState]:
    """The state of the knowledge of each of these assistants."""
    if not slugs:
        return {}
    with acting_as(SYSTEM):
        return await layer.knowledge_states(slugs)


def in_words(state: KnowledgeState, say: Say) -> str:
    """The state as sentences: how much is trained, since when, and what changed since."""
    said = []
    if state.trained_at is not None:
        ago = formats.ago(state.trained_at, say)
        said.append(say("knowledge_state", count=state.documents, ago=ago))
        if state.changed_sources:
            said.append(say("knowledge_changed", count=state.changed_sources))
    elif state.sources:
        said.append(say("knowledge_untrained", count=state.sources))
    else:
        said.append(say("knowledge_nothing"))
    if state.newest in ("new", "training"):
        said.append(say("knowledge_runs"))
    elif state.newest == "failed":
        said.append(say("knowledge_failed"))
    return " ".join(said)


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source, and what the current training took of it.

    Args:
        said: sentences about what was left out, or why nothing was taken.
        state: "new" if the current training does not know it, "changed" since, or "trained".
    """

    source: DataSource
    state: str
    documents: int = 0
    said: Sequence[str] = ()
    is_refused: bool = False


def source_row(listed: ListedSource, limits: LoadLimits, language: str) -> SourceRow:
    """The row of a source."""
    source, result = listed.source, listed.result
    if result is None:
        return SourceRow(source, "new")
    said = sentences(result, limits, language)
    state = "trained" if result.is_of(source, listed.trained_options) else "changed"
    return SourceRow(source, state, result.documents, said, result.refused is not None)


def sentences(result: SourceResult, limits: LoadLimits, language: str) -> list[str]:
    """What a training left out of a source, or why it took nothing, in sentences."""
    said = []
    if result.refused is not None:
        said.append(say_refused(result.refused, result.title, limits, language))  # type: ignore[arg-type]
    if result.fetch is not None and (failed := say_fetch(result.fetch, result.title, language)) is not None:
        said.append(failed)
    if result.taken is not None:
        left_out = [tuple(part) for part in result.taken["left_out"]]
        said += say_taken(Taken(**result.taken | {"left_out": left_out}), result.title, language)
    return said
