"""Stage ``score``: the teachers, and the audit that says whether they are worth learning from."""
