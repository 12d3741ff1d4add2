"""MLflow: curves of running stages, and one run per commit. No stage output depends on it."""
