"""Flat names and values for MLflow, and what must never be shown."""

from __future__ import annotations

import pytest
from mlflow.utils.validation import _validate_metric_name, _validate_param_name

from densespec.tracking.flat import (
    Value,
    effective_parameters,
    flat_metrics,
    flat_parameters,
    metric_name,
    stage_section,
)
from densespec.tracking.store import sqlite_file, tracking_uri, without_secrets


@pytest.mark.parametrize("name", ["nDCG@10", "a/b", "R(rel=2)@100", "Überblick", "a..b", "w%&?"])
def test_names_are_accepted_by_mlflow(name):
    _validate_metric_name(metric_name("specialised", name))
    _validate_param_name(metric_name("specialised", name))


def test_metrics_of_an_evaluation():
    document = {
        "domain": "d",
        "queries": 20,
        "verdict": "ship",
        "rows": {
            "specialised": {
                "ndcg_at_10": {"mean": 0.7, "low": 0.6, "high": 0.8},
                "vs_untuned": {"ndcg_at_10": {"difference": 0.1, "p_holm": 0.01, "detectable": None}},
            }
        },
        "dev": {"rows": {"untuned": {"ndcg_at_10": {"mean": 0.5}}}},
    }
    assert flat_metrics(document) == [
        Value("queries", 20.0),
        Value("specialised.ndcg_at_10", 0.7),
        Value("specialised.ndcg_at_10.low", 0.6),
        Value("specialised.ndcg_at_10.high", 0.8),
        Value("specialised.vs_untuned.ndcg_at_10.difference", 0.1),
        Value("specialised.vs_untuned.ndcg_at_10.p_holm", 0.01),
        Value("dev.untuned.ndcg_at_10", 0.5),
    ]


def test_curves_keep_their_steps_and_numbers_that_are_none_are_left_out():
    document = {
        "curve": [{"step": 0, "kl": 2.0}, {"step": 10.0, "kl": 1.0, "dev": float("nan")}],
        "list": [1, 2],
    }
    assert flat_metrics(document, "distill") == [
        Value("distill.curve.kl", 2.0, 0),
        Value("distill.curve.kl", 1.0, 10),
    ]


def test_a_count_of_rows_stays_a_metric():
    assert flat_metrics({"rows": 5, "mean": {"x": 1}}, "corpus") == [
        Value("corpus.rows", 5.0),
        Value("corpus.mean.x", 1.0),
    ]


def test_parameters_are_those_of_the_domain():
    shared = {
        "domains": ["a", "b"],
        "domain": "a",
        "kinds": ["claim"],
        "mine": {"depth": 100, "k": {"x": 1, "y": 2}},
    }
    flat = effective_parameters(shared, {"mine": {"k": {"y": 3}}})
    assert flat == {"kinds": '["claim"]', "mine.depth": "100", "mine.k.x": "1", "mine.k.y": "3"}
    assert stage_section(flat, "mine") == {"mine.depth": "100", "mine.k.x": "1", "mine.k.y": "3"}


def test_secrets_are_hidden_and_long_values_cut():
    flat = flat_parameters({"generate": {"api_key": "s3cret", "max_tokens": 50, "prompt": "x" * 9000}})
    assert flat["generate.api_key"] == "***"
    assert flat["generate.max_tokens"] == "50"
    assert len(flat["generate.prompt"]) == 6000


def test_addresses_lose_their_credentials(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "pa55")
    text = without_secrets("https://u:p@host/x?token=abc&y=1 said pa55; postgresql://db:pw@h/n")
    assert text == "https://***@host/x?token=***&y=1 said ***; postgresql://***@h/n"
    assert without_secrets("https://u:p@ss@host/x@y") == "https://***@host/x@y"
    names = ("access_token", "client_secret", "X-Amz-Signature", "sig", "apikey", "api_key", "pwd")
    for name in names:
        assert without_secrets(f"https://h/x?a=1&{name}=abc&b=2") == f"https://h/x?a=1&{name}=***&b=2"


def test_an_own_server_wins(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host")
    assert tracking_uri(tmp_path) == "http://host"
    assert sqlite_file("http://host") is None
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert sqlite_file(tracking_uri(tmp_path)) == tmp_path / "mlflow.db"
