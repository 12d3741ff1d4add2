"""nDCG@10 on the judged dev queries, against fixed passage vectors: cheap enough for every evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from densespec.records import Qrel, Scored
from densespec.retrieval import dense
from densespec.retrieval.measures import mean, per_query

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Array = np.ndarray[Any, Any]


def dev_ndcg_measure(
    questions: Mapping[str, str], qrels: Sequence[Qrel], passage_ids: Sequence[str], passage_vectors: Array
) -> Callable[[SentenceTransformer], float] | None:
    """A function from a model to its mean nDCG@10 on the judged dev queries; None if there are none.

    Args:
        questions: query id → text.
        qrels: judgements of the dev queries.
        passage_ids: of the corpus, in row order.
        passage_vectors: float32 (passages, dimension), not changed by training.
    """
    ids = sorted({qrel.query_id for qrel in qrels})
    if not ids:
        return None

    def measure(model: SentenceTransformer) -> float:
        vectors = model.encode_query(
            [questions[query_id] for query_id in ids], normalize_embeddings=True, show_progress_bar=False
        )
        rows, scores = dense.search(passage_vectors, np.asarray(vectors, dtype=np.float32), 10)
        run = {
            query_id: [Scored(passage_ids[row], float(score)) for row, score in zip(r, s, strict=True)]
            for query_id, r, s in zip(ids, rows, scores, strict=True)
        }
        return mean(per_query(run, qrels, ["ndcg_at_10"])["ndcg_at_10"])

    return measure
