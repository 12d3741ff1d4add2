"""Stage ``mine``: candidate lists of queries, by several retrievers, with the round trip."""
