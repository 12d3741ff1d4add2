"""Stage ``corpus``: any source becomes passages, queries and judgements; cleaning and the leak guard."""
