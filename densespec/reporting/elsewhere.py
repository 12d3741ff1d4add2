"""The forgetting panel: the specialised model on other domains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from densespec.reporting.charts import interval_mark
from densespec.reporting.markup import Html, count, equation, join, number, p_value, signed, table, tag

Panel = Mapping[str, Mapping[str, Any]]


def elsewhere_section(panel: Panel) -> Html:
    """nDCG@10 of the untuned and the specialised model on every other domain, and the difference.

    Args:
        panel: other domain → what the stage ``forgetting`` wrote for it.
    """
    tested = {other: found["rows"] for other, found in panel.items() if found["rows"]}
    parts: list[object] = []
    if not panel:
        parts.append(
            tag(
                "p",
                "No other domain was named, so whether the model lost anything elsewhere is unknown: "
                "name some of params.yaml's domains under 'forgetting' to find out.",
            )
        )
    if tested:
        lead = (
            "nDCG@10 on the test queries of other domains, which took no part in training. p: paired "
            "randomisation test, not corrected for the number of domains, so that harm is not overlooked. A "
            "loss smaller than 'detectable' may be there unseen."
        )
        parts += [tag("p", lead, cls="lead"), _table(panel, tested)]
    untested = [other for other in panel if other not in tested]
    if untested:
        parts.append(tag("p", f"Without judged test queries: {', '.join(untested)}.", cls="soft"))
    return join(parts)


def _table(panel: Panel, tested: Panel) -> Html:
    compared = {other: rows["specialised"]["vs_untuned"]["ndcg_at_10"] for other, rows in tested.items()}
    span = max([0.01, *(max(abs(value["low"]), abs(value["high"])) for value in compared.values())])
    lines = [
        [
            other,
            count(panel[other]["queries"]),
            number(tested[other]["untuned"]["ndcg_at_10"]["mean"]),
            number(tested[other]["specialised"]["ndcg_at_10"]["mean"]),
            interval_mark(value["difference"], value["low"], value["high"], span),
            tag(
                "td",
                signed(value["difference"]),
                tag("span", f" [{signed(value['low'])}, {signed(value['high'])}]", cls="range"),
            ),
            p_value(value["p"]),
            f"{value['wins']} / {value['ties']} / {value['losses']}",
            number(value["detectable"]),
        ]
        for other, value in compared.items()
    ]
    head = ["Domain", "queries", "untuned", "specialised", "", "difference", "p", "wins / ties / losses"]
    return table([*head, "detectable"], lines, label="nDCG@10 on other domains")


def forgotten(panel: Panel, alpha: float) -> list[str]:
    """One sentence per other domain on which nDCG@10 fell, p below ``alpha``."""
    compared = {
        other: found["rows"]["specialised"]["vs_untuned"]["ndcg_at_10"]
        for other, found in panel.items()
        if found["rows"]
    }
    return [
        f"nDCG@10 on {other} falls by {number(-value['difference'])} ({equation(value['p'])}): "
        "the model forgot something there."
        for other, value in compared.items()
        if value["difference"] < 0 and value["p"] < alpha
    ]
