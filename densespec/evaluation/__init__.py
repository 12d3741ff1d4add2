"""Stage ``evaluate``: rows of results, intervals, tests, the verdict, and promotion of the model."""
