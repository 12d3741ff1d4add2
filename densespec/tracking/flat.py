"""Nested parameters and metrics as the flat names that MLflow accepts."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from densespec.io.params import merged

SECRET_KEY = re.compile(r"(?i)(^|[._])(api_key|access_key|secret|password|token)$")
MAX_VALUE = 6000  # characters of a parameter that MLflow's database holds


class Value(NamedTuple):
    """One metric value; ``step`` is 0 for figures that are no curve."""

    name: str
    value: float
    step: int = 0


def metric_name(*parts: str) -> str:
    """Join with dots; ``nDCG@10`` becomes ``nDCG_at_10``, other characters that MLflow refuses ``_``."""
    joined = ".".join(part for part in parts if part).replace("@", "_at_")
    return re.sub(r"[^\w.\- :/]", "_", joined)


def effective_parameters(shared: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, str]:
    """What a domain's stages saw: ``params.yaml`` under ``conf/domains/<domain>.yaml``, flat.

    The list of domains and the reported domain are left out: they change no domain's results.
    """
    values = merged(dict(shared), dict(override))
    return flat_parameters({key: values[key] for key in values if key not in ("domains", "domain")})


def stage_section(parameters: Mapping[str, str], stage: str) -> dict[str, str]:
    """The flat parameters of one section."""
    return {name: value for name, value in parameters.items() if name.startswith(f"{stage}.")}


def flat_parameters(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten nested parameters: ``{"distill": {"lr": 1e-4}}`` → ``{"distill.lr": "0.0001"}``.

    Lists become JSON, long values are cut, values of secret-looking keys are hidden.
    """
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = metric_name(prefix, str(key))
        if isinstance(value, Mapping):
            flat |= flat_parameters(value, name)
        elif SECRET_KEY.search(name):
            flat[name] = "***"
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            flat[name] = text[:MAX_VALUE]
    return flat


def flat_metrics(document: Any, prefix: str = "") -> list[Value]:
    """Every finite number of a metrics file, named by its path.

    A number under ``mean`` and a mapping under ``rows`` take their parent's name; a list of objects with
    a ``step`` is a curve; other lists and strings are no metrics.
    """
    return list(_walk(document, prefix))


def _walk(value: Any, name: str) -> Iterator[Value]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            nested = isinstance(item, Mapping)
            unnamed = (key == "rows" and nested) or (key == "mean" and name and not nested)
            yield from _walk(item, name if unnamed else metric_name(name, str(key)))
    elif isinstance(value, list):
        for point in value:
            # a float where the figures come from the trainer's log
            if isinstance(point, Mapping) and isinstance(step := point.get("step"), int | float):
                rest = {key: item for key, item in point.items() if key != "step"}
                yield from (found._replace(step=int(step)) for found in _walk(rest, name))
    elif isinstance(value, int | float) and math.isfinite(value) and name:
        yield Value(name, float(value))
