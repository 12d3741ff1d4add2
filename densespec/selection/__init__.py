"""Stage ``select``: teacher scores become training lists."""
