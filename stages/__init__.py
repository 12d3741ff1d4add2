"""One thin script per stage: parse paths, load the configuration, call the library, write."""
