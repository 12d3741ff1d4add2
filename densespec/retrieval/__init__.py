"""Retrieval that several stages share: the student, encoding, nearest neighbours, BM25, fusion, measures."""
