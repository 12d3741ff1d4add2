"""Small SVG charts: they take the page's colours, scale with it, and are the same bytes every time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from densespec.reporting.markup import Html, count, join, number, signed, tag

WIDTH, HEIGHT = 380, 210
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 12, 26


class Series(NamedTuple):
    """One line of a chart.

    Attributes:
        name: for the legend.
        points: (x, y), by x.
        cls: class that gives the colour (``c-1`` …); add ``dashed`` for a dashed line.
    """

    name: str
    points: Sequence[tuple[float, float]]
    cls: str


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    baseline: tuple[str, float] | None = None,
    marked: tuple[str, float] | None = None,
) -> Html:
    """A figure with axes, legend and a tooltip on each point.

    Args:
        title: caption.
        series: lines; those without points are left out.
        x_label: what the x axis counts.
        baseline: name and height of a horizontal line.
        marked: name and x of a vertical line.
    """
    series = [line for line in series if line.points]
    if not series:
        return Html("")
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points] + ([baseline[1]] if baseline else [])
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1)
    y_ticks = nice_ticks(min(ys), max(ys))
    y_low, y_high = min(y_ticks[0], min(ys)), max(y_ticks[-1], max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    parts: list[Html] = []
    decimals = max(0, -math.floor(math.log10(y_ticks[1] - y_ticks[0]) + 1e-9))
    for tick in y_ticks:
        _, y = place(x_low, tick)
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=_n(y), y2=_n(y), cls="grid"))
        parts.append(tag("text", number(tick, decimals), x=LEFT - 6, y=_n(y + 3.5), cls="tick end"))
    for tick in nice_ticks(x_low, x_high, 5):
        if x_low <= tick <= x_high:
            x, _ = place(tick, y_low)
            parts.append(tag("text", count(tick), x=_n(x), y=HEIGHT - BOTTOM + 15, cls="tick middle"))
    if baseline:
        _, y = place(x_low, baseline[1])
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=_n(y), y2=_n(y), cls="baseline"))
    if marked and x_low <= marked[1] <= x_high:
        x, _ = place(marked[1], y_low)
        parts.append(tag("line", x1=_n(x), x2=_n(x), y1=TOP, y2=HEIGHT - BOTTOM, cls="mark"))
    for line in series:
        placed = [place(x, y) for x, y in line.points]
        path = "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in placed)
        parts.append(tag("path", d=path, cls=f"line {line.cls}"))
        for (x, y), (step, value) in zip(placed, line.points, strict=True):
            tip = tag("title", f"{line.name}, {x_label} {count(step)}: {number(value)}")
            parts.append(tag("circle", tip, cx=_n(x), cy=_n(y), r="2.6", cls=f"dot {line.cls}"))
    legend = [tag("span", tag("i", cls=f"key {line.cls}"), line.name) for line in series]
    if baseline:
        legend.append(tag("span", tag("i", cls="key baseline"), baseline[0]))
    if marked:
        legend.append(tag("span", tag("i", cls="key mark"), marked[0]))
    svg = tag("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title)
    return tag(
        "figure",
        tag("figcaption", title, tag("small", f" by {x_label}")),
        svg,
        tag("div", *legend, cls="legend"),
    )


def nice_ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers that cover a range: steps of 1, 2 or 5 times a power of ten."""
    span = max(high - low, abs(high) * 1e-3, 1e-9)
    power = 10.0 ** math.floor(math.log10(span / wanted))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * wanted >= span * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, max(last, first + 1) + 1)]


def change_mark(value: float, span: float) -> Html:
    """A difference without an interval: a bar from the zero line, for a table cell."""
    sense = "up" if value > 0 else "down" if value < 0 else "flat"
    return interval_mark(value, min(0.0, value), max(0.0, value), span, sense)


def interval_mark(value: float, low: float, high: float, span: float, sense: str = "") -> Html:
    """A difference with its interval around a zero line, for a table cell.

    Args:
        value: the difference.
        low: lower limit.
        high: upper limit.
        span: value at either edge of the drawing, the same for all rows.
        sense: ``up``, ``down`` or ``flat``, which colours it; by default, whether the interval is off zero.
    """
    width, height = 150, 18

    def place(x: float) -> str:
        return _n(width / 2 + max(-1.0, min(1.0, x / span)) * (width / 2 - 6))

    sense = sense or ("up" if low > 0 else "down" if high < 0 else "flat")
    return tag(
        "svg",
        tag("line", x1=width / 2, x2=width / 2, y1=1, y2=height - 1, cls="zero"),
        tag("line", x1=place(low), x2=place(high), y1=height / 2, y2=height / 2, cls=f"whisker {sense}"),
        tag("circle", cx=place(value), cy=height / 2, r=4, cls=f"point {sense}"),
        viewBox=f"0 0 {width} {height}",
        cls="interval",
        role="img",
        aria_label=f"{signed(value)}, interval {signed(low)} to {signed(high)}",
    )


def stacked_bar(parts: Sequence[tuple[str, float, str]]) -> Html:
    """A horizontal bar of labelled shares.

    Args:
        parts: label, size and class of each share.
    """
    whole = sum(size for _, size, _ in parts) or 1
    return tag(
        "div",
        *(
            tag(
                "span", cls=f"share {cls}", style=f"width:{size / whole:.4%}", title=f"{label}: {count(size)}"
            )
            for label, size, cls in parts
            if size
        ),
        cls="bar",
        role="img",
        aria_label=", ".join(f"{label} {count(size)}" for label, size, _ in parts),
    )


def key_to(parts: Sequence[tuple[str, str]]) -> Html:
    """The legend of stacked bars: label and class of each share."""
    return tag(
        "div", *(tag("span", tag("i", cls=f"swatch {cls}"), label) for label, cls in parts), cls="legend"
    )


def sorted_differences(differences: Sequence[float]) -> Html:
    """Every query's difference as one thin bar, largest gain first; gains above the line, losses below."""
    if not differences:
        return Html("")
    width, height, edge = 1000, 100, 3
    values = sorted(differences, reverse=True)
    high, low = max(values[0], 0.0), min(values[-1], 0.0)
    scale = (height - 2 * edge) / max(high - low, 1e-9)
    middle, step = _n(edge + high * scale), width / len(values)
    paths = {"up": "", "down": ""}
    for place, value in enumerate(values):
        if abs(value) >= 1e-6:
            bar = f"M{_n(place * step)} {middle}v{_n(-value * scale)}h{_n(step)}V{middle}z"
            paths["up" if value > 0 else "down"] += bar
    return tag(
        "figure",
        tag(
            "figcaption",
            "Every test query",
            tag(
                "small",
                f" by its difference in nDCG@10, from {signed(values[0], 2)} to {signed(values[-1], 2)}",
            ),
        ),
        tag(
            "svg",
            *(tag("path", d=path, cls=f"area {sense}") for sense, path in paths.items() if path),
            tag("line", x1=0, x2=width, y1=middle, y2=middle, cls="axis"),
            viewBox=f"0 0 {width} {height}",
            preserveAspectRatio="none",
            cls="waterfall",
            role="img",
            aria_label=f"{sum(v > 1e-6 for v in values)} gains, {sum(v < -1e-6 for v in values)} losses",
        ),
        cls="wide",
    )


def _n(value: float) -> str:
    """A coordinate, at most two decimals."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def panels(figures: Sequence[Html]) -> Html:
    """Figures side by side, under one another where there is no room."""
    return tag("div", join(figures), cls="panels")
