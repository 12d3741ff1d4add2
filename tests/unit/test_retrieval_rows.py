"""Names of an evaluation's rows."""

from densespec.retrieval.rows import Row, in_order, row_of, row_title, short_row, teacher_row

TITLES = {"specialised": "specialised model", "teacher": "teacher as reranker"}


def test_names_and_what_they_say():
    assert row_of("bm25") == Row("bm25")
    assert row_of("teacher") == Row("teacher")
    assert row_of(short_row("specialised", 128)) == Row("specialised", 128)
    assert row_of(teacher_row("rank-t5")) == Row("teacher", teacher="rank-t5")
    assert row_of("of-another-version") == Row("of-another-version")


def test_a_teacher_whose_name_ends_in_a_number_is_no_short_embedding():
    assert row_of(teacher_row("minilm-6")) == Row("teacher", teacher="minilm-6")
    assert row_of(teacher_row("6")) == Row("teacher", teacher="6")
    assert row_title(teacher_row("6"), TITLES) == "teacher 6 alone as reranker"


def test_titles():
    assert row_title("teacher", TITLES) == "teacher as reranker"
    assert row_title("specialised-64", TITLES) == "specialised model, first 64 dimensions"
    assert row_title("bm25", TITLES) == "bm25"


def test_short_embeddings_follow_their_model_from_the_longest():
    models = ("untuned", "specialised", "teacher")
    expected = ["untuned", "untuned-12", "untuned-5", "specialised", "specialised-8", "teacher", "teacher-b"]
    assert in_order(sorted([*expected, "new"]), models) == [*expected, "new"]
