"""Measures what assistants know: how well and how fast passages are found. `python -m benchmarks.knowledge`

Recall: two handbooks (`knowledge_texts/`), English and Chinese, are trained together with the documentation of this
project, with the embedding model of this machine, on SQLite. Each question is looked up by vectors alone, by the fusion
of two ranks with equal weights (RRF), and as the application does. The weights were tuned with the questions of every
other document; the last columns are those of both halves. `--speed` measures 100,000 vectors.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import datalayer
from datalayer.chainlit_layer import ChainlitLayer
from datalayer.records.knowledge import DataSource, Training
from threadkeeper.knowledge.chunks import ChunkSettings
from threadkeeper.knowledge.embedding.base import EmbeddingModel, EmbeddingPurpose
from threadkeeper.knowledge.embedding.embedder import Embedder
from threadkeeper.knowledge.embedding.local import DIMENSIONS, MODEL, THRESHOLD, WINDOW, LocalModel
from threadkeeper.knowledge.retrieval.background import Background
from threadkeeper.knowledge.retrieval.ranking import WORDS_WEIGHT, Question, by_chance, fused, nearness, settled
from threadkeeper.knowledge.retrieval.retriever import Retriever
from threadkeeper.knowledge.retrieval.sign_index import SignIndex
from threadkeeper.knowledge.training import KnowledgeSettings, Trainer
from threadkeeper.knowledge.worker_process import EmbeddingWorker

TEXTS = Path(__file__).with_name("knowledge_texts")
DOCS = Path(__file__).parents[1] / "docs"
KINDS = {"?": "as the text says it", "~": "in other words", "#": "names and codes", ">": "follow-ups"}
NOBODY = EmbeddingPurpose()
_RRF = 60


@dataclass(frozen=True)
class Asked:
    """A question, its kind, and the title of the document that answers it; None if no document does."""

    text: str
    kind: str
    title: str | None


def read_handbook(path: Path) -> tuple[dict[str, str], list[Asked]]:
    """The texts of the documents by title, and the questions. A follow-up is asked behind the question before it."""
    documents: dict[str, str] = {}
    questions: list[Asked] = []
    for block in path.read_text("utf-8").strip().split("\n\n"):
        title, before, text = None, "", list[str]()
        for line in block.splitlines():
            mark, rest = line[0], line[2:]
            if mark == "!":
                questions.append(Asked(rest, mark, None))
            elif mark == "#" and title is None:
                title = rest
            elif line[:2] in ("? ", "~ ", "# ", "> "):
                questions.append(Asked(f"{before} {rest}" if mark == ">" else rest, mark, title))
                before = rest if mark == "?" else before
            else:
                text.append(line)
        if title is not None:
            documents[title] = "\n".join(text)
    return documents, questions


class Trained:
    """Both handbooks, trained."""

    def __init__(self, layer: ChainlitLayer, embedder: Embedder, training: Training) -> None:
        self.layer, self.embedder, self.training = layer, embedder, training
        self.retriever = Retriever(layer)

    @classmethod
    async def make(cls, folder: Path, worker: EmbeddingWorker) -> "Trained":
        layer = datalayer.create_data_layer(f"sqlite:///{folder / 'knowledge.db'}", f"file://{folder / 'files'}")
        await layer.migrate()
        sources = [
            (title, text) for name in ("en", "zh") for title, text in read_handbook(TEXTS / f"{name}.txt")[0].items()
        ]
        sources += [(file.name, file.read_text("utf-8")) for file in sorted(DOCS.glob("*.md"))]
        for number, (title, text) in enumerate(sources):
            source = DataSource(f"00000000-0000-4000-8000-{number:012d}", "benchmark", "file", title)
            await layer.put_source(source, text.encode())
        embedder = Embedder(LocalModel(worker), EmbeddingModel(MODEL, DIMENSIONS, THRESHOLD, is_local=True))
        trainer = Trainer(layer, embedder, worker, KnowledgeSettings(ChunkSettings(window=WINDOW)))
        training = await trainer.train((await layer.start_training("benchmark")).id)
        return cls(layer, embedder, training)

    async def ranked(self, question: str, vector: "NDArray[np.float32]") -> dict[str, list[tuple[str, float]]]:
        """The titles of all passages with their scores, best first, by each way to rank them."""
        vectors = await self.vectors()
        background = Background.unpacked(await self.layer.word_counts(self.training.id) or b"", DIMENSIONS)
        asked = Question(question, background.words)
        whole = {one: float(its[0] @ vector) for one, its in vectors.items()}
        shares = dict(zip(self._hashes, asked.coverage(list(self._hashes.values())), strict=True))
        places = [
            {one: place for place, one in enumerate(sorted(of, key=lambda one: -of[one]))} for of in (whole, shares)
        ]
        rrf = {one: sum(1 / (_RRF + place[one]) for place in places) for one in whole}
        near = {one: nearness(its, vector) for one, its in vectors.items()}
        with_sentences = dict(fused(near, self._hashes, asked))
        corrected = dict(fused({one: near[one] - by_chance(len(vectors[one])) for one in near}, self._hashes, asked))
        scored = [replace(self._passages[one], score=score) for one, score in corrected.items()]
        ways: dict[str, Mapping[int, float]] = {
            "vectors alone": whole,
            "equal-weight RRF": rrf,
            f"cosine + {WORDS_WEIGHT} × words": dict(fused(whole, self._hashes, asked)),
            "the same with sentences": with_sentences,
            "the same, less what is near by chance": corrected,
            "the same, its own script and other documents first": {
                one.id: one.score for one in settled(scored, question, 1.0)
            },
        }
        return {
            way: [
                (self._passages[one].document_title, scores[one])
                for one in sorted(scores, key=lambda one: -scores[one])
            ]
            for way, scores in ways.items()
        }

    async def vectors(self) -> "dict[int, NDArray[np.float32]]":
        if not hasattr(self, "_vectors"):
            parts: dict[int, list[bytes]] = {}
            async for page in self.layer.training_vectors(self.training):
                for one in page:
                    parts.setdefault(one.id, []).append(one.vector)
            self._vectors = {
                one: np.stack([np.frombuffer(each, "<f2").astype(np.float32) for each in its])
                for one, its in parts.items()
            }
            self._hashes = await self.layer.passage_hashes(list(parts))
            passages = await self.layer.get_passages([(one, 0.0) for one in parts])
            self._passages = {one.id: one for one in passages}
        return self._vectors


def share(found: Sequence[int], least: int) -> float:
    return sum(place < least for place in found) / len(found)


def silence(language: str, known: Sequence[float], unknown: Sequence[float], threshold: float) -> str:
    """How well the best scores tell questions that nothing answers from the others, at several thresholds."""
    order = statistics.mean((one > other) + (one == other) / 2 for one in known for other in unknown)
    lines = [f"{language}: of {len(unknown)} questions without an answer and {len(known)} with one (AUC {order:.3f})"]
    for share in (0.5, 0.6, 0.7, 0.8, 0.9, None):
        least = threshold if share is None else sorted(unknown)[round(share * len(unknown)) - 1] + 1e-9
        right, wrong = sum(one < least for one in unknown), sum(one < least for one in known)
        name = "the threshold of the training" if share is None else "a threshold"
        lines.append(
            f"  {name} of {least:.3f}: {right} and {wrong} told so: precision {right / max(right + wrong, 1):.2f}, "
            f"recall {right / len(unknown):.2f}"
        )
    return "\n".join(lines)


def mean_reciprocal(found: Sequence[int]) -> float:
    return statistics.mean(1 / (place + 1) for place in found)


async def recall(folder: Path) -> None:
    worker = EmbeddingWorker()
    began = time.perf_counter()
    trained = await Trained.make(folder, worker)
    counts = trained.training.counts
    print(
        f"trained {counts.documents} documents, {counts.passages} passages, {counts.vectors} vectors in "
        f"{time.perf_counter() - began:.0f} s; threshold {trained.training.threshold:.3f}\n"
    )
    kinds = " | ".join(f"MRR {kind}" for kind in KINDS.values())
    print(f"| | recall@1 | recall@5 | MRR | {kinds} | recall@5 tuned | MRR tuned | recall@5 other | MRR other |")
    print("|---|" + "---|" * (7 + len(KINDS)))
    idk: list[str] = []
    for language in ("en", "zh"):
        _, questions = read_handbook(TEXTS / f"{language}.txt")
        embedded = await trained.embedder.embed([one.text for one in questions], "passage", NOBODY)
        places: dict[str, list[tuple[str, int]]] = {}
        is_tuned: list[bool] = []
        order = list(dict.fromkeys(one.title for one in questions))
        known, unknown = list[float](), list[float]()
        for asked, vector in zip(questions, embedded.vectors, strict=True):
            if asked.title is not None:
                is_tuned.append(order.index(asked.title) % 2 == 0)
                for way, ranking in (await trained.ranked(asked.text, vector)).items():
                    # The rank of the first passage of the right document.
                    place = next(at for at, (title, _) in enumerate(ranking) if title == asked.title)
                    places.setdefault(way, []).append((asked.kind, place))
            found = await trained.retriever.find("benchmark", asked.text, trained.embedder, NOBODY)
            (known if asked.title else unknown).append((found.passages or found.below)[0].score)
        for way, ranks in places.items():
            all_ranks = [place for _, place in ranks]
            of_kinds = [mean_reciprocal([place for kind, place in ranks if kind == mark]) for mark in KINDS]
            print(
                f"| {language}, {way} | {share(all_ranks, 1):.2f} | {share(all_ranks, 5):.2f} | "
                f"{mean_reciprocal(all_ranks):.2f} | "
                + " | ".join(f"{one:.2f}" for one in of_kinds)
                + " | "
                + " | ".join(
                    f"{share(half, 5):.2f} | {mean_reciprocal(half):.2f}"
                    for half in (
                        [place for place, tuned in zip(all_ranks, is_tuned, strict=True) if tuned == wanted]
                        for wanted in (True, False)
                    )
                )
                + " |"
            )
        idk += [silence(language, known, unknown, trained.training.threshold or 0)]
    print("\n" + "\n".join(idk))
    await trained.layer.close()
    await worker.close()


def median(work: Callable[[], object], times: int) -> float:
    """The median in milliseconds."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


def speed(count: int, dimensions: int = DIMENSIONS) -> None:
    """A search of vectors in clusters, as real ones are, by signs and exactly."""
    chance = np.random.default_rng(7)
    centres = chance.normal(size=(count // 100, dimensions))
    vectors = centres[chance.integers(0, len(centres), count)] + 0.7 * chance.normal(size=(count, dimensions)) + 0.3
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("<f2")
    questions = vectors[chance.integers(0, count, 100)].astype(np.float32) + 0.02 * chance.normal(
        size=(100, dimensions)
    )
    questions = (questions / np.linalg.norm(questions, axis=1, keepdims=True)).astype(np.float32)
    index = SignIndex(dimensions)
    for start in range(0, count, 2_000):
        index.add(range(start, min(start + 2_000, count)), vectors[start : start + 2_000].tobytes())
    began = time.perf_counter()
    index.finish()
    built = time.perf_counter() - began
    whole = vectors.astype(np.float32)
    found = []
    for question in questions:
        cosines = whole @ question
        exact = set(np.argpartition(-cosines, 10)[:10].tolist())
        found.append(len(exact & {one for one, _ in index.nearest(question)[:10]}) / 10)
    at = iter(list(range(100)) * 100)

    def exactly() -> object:
        cosines = whole @ questions[next(at)]
        best = np.argpartition(-cosines, 10)[:10]
        return best[np.argsort(-cosines[best])]

    # The contenders take turns.
    rounds = [(median(exactly, 20), median(lambda: index.nearest(questions[next(at)]), 20)) for _ in range(5)]
    exact_ms, signs_ms = (statistics.median(one) for one in zip(*rounds, strict=True))
    print(
        f"{count:,} vectors of {dimensions}: exact float32 {exact_ms:.1f} ms, signs and {400} exact {signs_ms:.1f} ms "
        f"(ratio {signs_ms / exact_ms:.2f}), recall@10 {statistics.mean(found):.3f}; memory "
        f"{index.memory / 1e6:.0f} MB against {whole.nbytes / 1e6:.0f} MB; signs computed in {built:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speed", action="store_true", help="measure the speed instead of the recall")
    parser.add_argument("--vectors", type=int, default=100_000)
    options = parser.parse_args()
    if options.speed:
        speed(options.vectors)
        return
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(recall(Path(folder)))


if __name__ == "__main__":
    main()
