"""nDCG@10 on the judged dev queries, at every evaluation of a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from densespec.errors import InputError
from densespec.records import Qrel, Scored
from densespec.retrieval import dense
from densespec.retrieval.measures import mean, per_query

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Array = np.ndarray[Any, Any]


def require_affordable(passages: int, trained: int) -> None:
    """Refuse to encode a corpus at every dev evaluation where that costs more than training between them.

    Args:
        passages: of the corpus.
        trained: passages in the lists between two evaluations.

    Raises:
        InputError: the corpus is larger.
    """
    if passages > trained:
        raise InputError(
            "params distill.stop_on",
            expected=f"a corpus of at most {trained} passages, as many as the lists between two evaluations "
            "hold: with side 'both', stop_on 'ndcg' encodes it at each evaluation",
            found=f"{passages} passages",
            remedy="set distill.stop_on to loss, or evaluate less often (distill.eval_steps)",
        )


def dev_ndcg_measure(
    questions: Mapping[str, str],
    qrels: Sequence[Qrel],
    passage_ids: Sequence[str],
    passages: Array | Sequence[str],
) -> Callable[[SentenceTransformer], float] | None:
    """A function from a model to its mean nDCG@10 on the judged dev queries; None if there are none.

    Args:
        questions: query id → text.
        qrels: judgements of the dev queries.
        passage_ids: of the corpus, in row order.
        passages: float32 (passages, dimension) where training does not change them, which is cheap; else
            the passages' content, which the model encodes anew each time.
    """
    ids = sorted({qrel.query_id for qrel in qrels})
    if not ids:
        return None

    def measure(model: SentenceTransformer) -> float:
        vectors = model.encode_query(
            [questions[query_id] for query_id in ids], normalize_embeddings=True, show_progress_bar=False
        )
        index = passages
        if not isinstance(index, np.ndarray):
            index = model.encode_document(list(passages), normalize_embeddings=True, show_progress_bar=False)
        rows, scores = dense.search(np.asarray(index), np.asarray(vectors, dtype=np.float32), 10)
        run = {
            query_id: [Scored(passage_ids[row], float(score)) for row, score in zip(r, s, strict=True)]
            for query_id, r, s in zip(ids, rows, scores, strict=True)
        }
        return mean(per_query(run, qrels, ["ndcg_at_10"])["ndcg_at_10"])

    return measure
