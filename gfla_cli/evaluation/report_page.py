"""How pages of figures look: the fonts and colours of the reader's own system, light or dark."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import Any

from gfla_cli.arrays import Image
from gfla_cli.evaluation.names import LABELS, figure_text, higher_is_better

STYLE = """
:root {
  --ink: #1d1f22; --faint: #63686f; --paper: #fcfcfb; --card: #ffffff; --line: #dfe1e4; --accent: #0b62a8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e7e9; --faint: #9aa0a8; --paper: #16181b; --card: #1f2226; --line: #363a40; --accent: #7cbcf5;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; color: var(--ink); background: var(--paper);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
main { max-width: 72rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0; text-wrap: balance; }
.lead { color: var(--faint); margin: 0.35rem 0 1.5rem; }
h2 { font-size: 1.15rem; margin: 2.75rem 0 0.75rem; }
h3 { font-size: 0.95rem; margin: 1.5rem 0 0.5rem; color: var(--faint); font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; min-width: 100%; }
th, td { padding: 0.4rem 0.75rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
thead th, thead td { color: var(--faint); font-weight: 600; border-bottom-width: 2px; }
tbody tr:hover { background: var(--card); }
tbody th, tbody tr > :first-child { text-align: left; font-weight: 500; padding-left: 0; }
td strong { color: var(--accent); font-weight: 650; }
.note { color: var(--faint); margin: 0.5rem 0 0; }
details { margin-top: 1.25rem; }
summary { cursor: pointer; color: var(--faint); font-weight: 600; padding: 0.25rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.3rem 1.5rem; margin: 0; }
dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
.rows { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); gap: 1rem; }
figure { margin: 0; padding: 0.6rem; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.strip { display: flex; gap: 0.4rem; }
.strip div { flex: 0 1 10rem; min-width: 0; }
img { display: block; width: 100%; height: auto; border-radius: 4px; }
.strip span { display: block; margin-top: 0.2rem; color: var(--faint); font-size: 0.75rem; text-align: center; }
figcaption { margin-top: 0.4rem; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
figcaption span { color: var(--faint); overflow-wrap: anywhere; margin-left: 0.5rem; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0 0; } dd { margin-bottom: 0.6rem; } }
@media print { figure { break-inside: avoid; } details { display: none; } }
""".strip()


# An evaluation as one HTML file: figures, the conditions they hold under, and pictures to judge them by.
#
# Pictures are inside the file and nothing is loaded from elsewhere; the page says so to the browser, too.


_SIDE = 256  # pixels of the longer side of a picture in the page
_COUNTS = ("pairs", "frames", "pictures")
_PARTS = {"by_change": "By how far the pose changes", "by_difference": "By degrees turned"}


@dataclass(frozen=True, slots=True)
class ExampleGroup:
    """Some pairs of one score: the worst, the median or the best by one figure."""

    score: str
    kind: str
    metric: str
    pairs: Sequence[Example]


@dataclass(frozen=True, slots=True)
class Example:
    """One generated picture: what it is called, its figure, and what belongs to it, by name."""

    title: str
    figure: float
    pictures: Mapping[str, Image]


def report_page(
    title: str,
    lead: str,
    rows: Sequence[Mapping[str, Any]],
    conditions: Iterable[tuple[str, str]],
    skipped: Mapping[str, str],
    groups: Sequence[ExampleGroup],
) -> str:
    """The page; `lead` stands under its title.

    `rows` are those of the JSON report, `conditions` names and texts, in order.
    """
    parts = [
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>',
        _figures(rows),
        *(
            f'<p class="note">{escape(LABELS.get(name, name))} left out: {escape(why)}</p>'
            for name, why in skipped.items()
        ),
        *_parts(rows),
        _conditions(conditions),
        *_examples(groups),
    ]
    return _PAGE.format(title=escape(title), style=STYLE, body="\n".join(part for part in parts if part))


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def _names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of the figures in these rows, in order."""
    found = {
        name: None
        for row in rows
        for name, value in row.items()
        if name not in _COUNTS and (value is None or (isinstance(value, int | float) and not isinstance(value, bool)))
    }
    return list(found)


def _figures(rows: Sequence[Mapping[str, Any]]) -> str:
    names = _names(rows)
    counted = next((name for name in _COUNTS if name in rows[0]), None)
    best = _best([row for row in rows if "model" in row] or rows, names)
    lines = []
    for row in rows:
        cells = [_cell(name, row.get(name), best=(row["name"], name) in best) for name in names]
        count = f"<td>{row[counted]}</td>" if counted else ""
        lines.append(f"<tr><th scope=row>{escape(str(row['name']))}</th>{count}{''.join(cells)}</tr>")
    return _table([*(["", counted.capitalize()] if counted else [""]), *map(_heading, names)], lines)


def _parts(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """The same figures over parts of the pairs, such as those whose pose changes much."""
    for key in [key for key in rows[0] if key.startswith("by_")]:
        parts = list(dict.fromkeys(part for row in rows for part in row.get(key, {})))
        names = _names(row[key][part] for row in rows for part in row.get(key, {}))
        lines = []
        for part in parts:
            for row in rows:
                values = row.get(key, {}).get(part, {})
                cells = "".join(_cell(name, values.get(name)) for name in names)
                lines.append(f"<tr><td>{escape(part)}</td><th scope=row>{escape(str(row['name']))}</th>{cells}</tr>")
        if lines:
            title = escape(_PARTS.get(key, key))
            figures = _table(["", "", *map(_heading, names)], lines)
            yield f"<details><summary>{title}</summary>{figures}</details>"


def _best(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> set[tuple[str, str]]:
    """Row and name of the best figure of each column, where there is a choice."""
    found = set()
    for name in names:
        known = [(row[name], str(row["name"])) for row in rows if row.get(name) is not None]
        if len(known) > 1:
            found.add(((max if higher_is_better(name) else min)(known)[1], name))
    return found


def _heading(name: str) -> str:
    arrow = "↑" if higher_is_better(name) else "↓"
    return f"{LABELS.get(name, name)} {arrow}"


def _cell(name: str, value: float | None, *, best: bool = False) -> str:
    text = figure_text(name, value)
    return f"<td><strong>{text}</strong></td>" if best else f"<td>{text}</td>"


def _table(heads: Sequence[str], lines: Sequence[str]) -> str:
    cells = "".join(f"<th scope=col>{escape(head)}</th>" if head else "<td></td>" for head in heads)
    body = "\n".join(lines)
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _conditions(conditions: Iterable[tuple[str, str]]) -> str:
    terms = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in conditions)
    return f"<section><h2>Protocol</h2>\n<dl>\n{terms}\n</dl></section>"


def _examples(groups: Sequence[ExampleGroup]) -> Iterable[str]:
    for score in dict.fromkeys(group.score for group in groups):
        mine = [group for group in groups if group.score == score]
        yield f"<section><h2>{escape(score)}</h2>"
        for group in mine:
            label = LABELS.get(group.metric, group.metric)
            figures = "\n".join(_figure(group.metric, example) for example in group.pairs)
            yield f'<h3>{escape(group.kind.capitalize())} by {escape(label)}</h3>\n<div class="rows">{figures}</div>'
        yield "</section>"


def _figure(metric: str, example: Example) -> str:
    shown = "".join(
        f'<div><img src="{_embedded(image)}" alt="{escape(name)}" loading="lazy"><span>{escape(name)}</span></div>'
        for name, image in example.pictures.items()
    )
    text = f"{LABELS.get(metric, metric)} {figure_text(metric, example.figure)}"
    caption = f"{escape(text)} <span>{escape(example.title)}</span>"
    return f'<figure><div class="strip">{shown}</div><figcaption>{caption}</figcaption></figure>'


def _embedded(image: Image) -> str:
    """(H, W, 3) uint8 as a data URL, at most `_SIDE` pixels on its longer side."""
    from PIL import Image as PillowImage

    picture = PillowImage.fromarray(image)
    picture.thumbnail((_SIDE, _SIDE), PillowImage.Resampling.LANCZOS)
    encoded = BytesIO()
    picture.save(encoded, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode("ascii")
