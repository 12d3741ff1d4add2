"""Specialise a dense retriever for a corpus: synthetic queries, a teacher, distillation, a verdict."""
