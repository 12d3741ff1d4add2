"""The page's script: the per-query explorer. It builds elements from text, never from markup."""

from __future__ import annotations

SCRIPT = """
"use strict";
(() => {
  const holder = document.getElementById("explorer-data");
  if (!holder) return;
  const data = JSON.parse(holder.textContent);
  const list = document.getElementById("explorer-list");
  const more = document.getElementById("explorer-more");
  const shown = document.getElementById("explorer-shown");
  const control = (name) => document.getElementById("explorer-" + name);
  const [text, kind, outcome, order] = ["text", "kind", "outcome", "order"].map(control);
  const PAGE = 25, TIE = 1e-6;
  const queries = data.queries.map(([id, words, kind, left, right, lefts, rights, relevant]) =>
    ({ id, words, kind, left, right, lefts, rights, relevant, delta: right - left,
      key: (id + " " + words).toLowerCase() }));

  const make = (name, cls, content) => {
    const element = document.createElement(name);
    if (cls) element.className = cls;
    if (content !== undefined) element.textContent = content;
    return element;
  };
  const sense = (delta) => (delta >= TIE ? "up" : delta <= -TIE ? "down" : "flat");
  const fixed = (value) => value.toFixed(3);
  const signed = (delta) =>
    (sense(delta) === "flat" ? "0" : (delta > 0 ? "+" : "\\u2212") + fixed(Math.abs(delta)));
  const OUTCOME = { win: "up", loss: "down", tie: "flat" };
  const ORDER = {
    loss: (a, b) => a.delta - b.delta,
    win: (a, b) => b.delta - a.delta,
    low: (a, b) => a.right - b.right,
    id: () => 0,
  };

  const hits = (name, score, numbers, grades) => {
    const column = make("div");
    column.append(make("h4", "", name + "  ·  nDCG@10 " + fixed(score)));
    const rows = make("ol");
    for (const number of numbers) {
      const [id, title, snippet] = data.passages[number];
      const row = make("li", grades.has(number) ? "hit relevant" : "hit");
      const cell = make("div");
      const head = make("div", "title", title || id);
      const grade = "relevant, grade " + grades.get(number);
      if (grades.has(number)) head.append(" ", make("span", "badge", grade));
      cell.append(head, make("div", "text", snippet));
      cell.title = id;
      row.append(cell);
      rows.append(row);
    }
    column.append(rows);
    return column;
  };
  const rank = (place) => (place ? "rank " + place : "not in the top " + data.depth);

  const body = (query) => {
    const grades = new Map(query.relevant.map(([number, grade]) => [number, grade]));
    const element = make("div", "body");
    const two = make("div", "two");
    two.append(hits(data.left, query.left, query.lefts, grades),
      hits(data.right, query.right, query.rights, grades));
    const found = make("ul", "found");
    for (const [number, grade, before, after] of query.relevant) {
      const row = make("li");
      const name = data.passages[number][1] || data.passages[number][0];
      const better = (after || 1e9) - (before || 1e9);
      row.append(make("span", "title", "grade " + grade + ": " + name));
      row.append(make("span", "ranks " + (better < 0 ? "up" : better > 0 ? "down" : "flat"),
        rank(before) + " \\u2192 " + rank(after)));
      found.append(row);
    }
    element.append(two, make("h4", "soft", "Where the relevant passages are, " + data.left.toLowerCase() +
      " \\u2192 " + data.right.toLowerCase()), found);
    return element;
  };

  const entry = (query) => {
    const element = make("details", "query");
    const summary = make("summary");
    summary.append(make("span", "delta " + sense(query.delta), signed(query.delta)));
    const ask = make("span", "ask", query.words);
    if (query.kind) ask.append(" ", make("span", "badge", query.kind));
    summary.append(ask, make("span", "side", fixed(query.left) + " \\u2192 " + fixed(query.right)));
    element.append(summary);
    element.addEventListener("toggle", () => {
      if (element.open && element.childElementCount === 1) element.append(body(query));
    });
    return element;
  };

  let chosen = [], drawn = 0;
  const draw = () => {
    list.append(...chosen.slice(drawn, drawn + PAGE).map(entry));
    drawn = Math.min(drawn + PAGE, chosen.length);
    more.hidden = drawn >= chosen.length;
    shown.textContent = chosen.length ? drawn + " of " + chosen.length + " shown" : "No query matches.";
  };
  const choose = () => {
    const wanted = text.value.toLowerCase().split(/\\s+/).filter(Boolean);
    chosen = queries.filter((query) =>
      (!kind.value || query.kind === kind.value) &&
      (!outcome.value || sense(query.delta) === OUTCOME[outcome.value]) &&
      wanted.every((word) => query.key.includes(word))).sort(ORDER[order.value]);
    list.replaceChildren();
    drawn = 0;
    draw();
  };
  for (const element of [text, kind, outcome, order]) element.addEventListener("input", choose);
  more.addEventListener("click", draw);
  choose();
  if (list.firstElementChild) list.firstElementChild.open = true;
})();
""".strip()
