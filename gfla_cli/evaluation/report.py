"""What `gfla evaluate` shows and writes: tables, the paper's table 2, CSV, JSON, an HTML page and a contact sheet."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from gfla_cli.arrays import Image
from gfla_cli.errors import DataError, UsageError
from gfla_cli.evaluation.scores import RANKING, figure_text, metric_of, picked
from gfla_cli.io.files import refuse_output, write_text
from gfla_cli.io.image import WRITABLE, write_image

if TYPE_CHECKING:
    from gfla_cli.evaluation.loop import Evaluation

_PREFERRED = ("lpips", "vgg", "ssim", "l1", "psnr")  # examples are chosen by the first: the nearest to what people see
_ON_SHEET = 12  # rows of the contact sheet
_SIDE = 256  # pixels of the longer side of an image in the page
_COUNTS = ("pairs", "frames", "pictures")
# Key of a row -> what its parts are called in the table, and in the page.
_PARTS = {
    "by_change": ("pairs", "By how far the pose changes"),
    "by_difference": ("turned by", "By degrees turned"),
}
_SHOWN = ("fid", "lpips", "vgg", "ssim", "psnr", "l1", "pck")  # of ours beside the paper's, in this order
_NOT_CONDITIONS = ("note", "run")
_HINT = "gfla evaluate MODEL... --json-file FILE writes one"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFiles:
    """Where to write; None: not at all."""

    csv: Path | None
    json: Path | None
    html: Path | None
    sheet: Path | None
    rank_by: str | None

    def paths(self) -> list[Path]:
        return [path for path in (self.csv, self.json, self.html, self.sheet) if path is not None]

    def check(self, *, overwrite: bool) -> None:
        """Raises UsageError for files that could not be written; called before anything is measured."""
        for path in self.paths():
            refuse_output(path, overwrite=overwrite)
        if len({path.resolve() for path in self.paths()}) < len(self.paths()):
            raise UsageError("two reports cannot be one file", hint="give each a name of its own")
        if self.sheet is not None and self.sheet.suffix.lower() not in WRITABLE:
            raise UsageError(f"{self.sheet}: unknown image format", hint=f"known: {' '.join(WRITABLE)}")
        if self.rank_by is not None and self.rank_by not in RANKING:
            what = f"--rank-by {self.rank_by}: not a metric of single images"
            raise UsageError(what, hint=f"known: {', '.join(RANKING)}")
        if self.rank_by is not None and self.html is None:
            raise UsageError("--rank-by chooses the examples of --html", hint="add --html FILE, or leave it out")

    def write(self, evaluation: Evaluation, *, overwrite: bool) -> None:
        """All of them, each complete or not at all."""
        rows = evaluation.to_json()
        if self.csv is not None:
            write_text(self.csv, as_csv(rows), overwrite=overwrite)
        if self.json is not None:
            write_text(self.json, json.dumps(rows, indent=2) + "\n", overwrite=overwrite)
        if self.html is not None:
            write_text(self.html, as_page(evaluation, self.rank_by), overwrite=overwrite)
        if self.sheet is not None:
            write_image(self.sheet, contact_sheet(evaluation.test.sheet(_ON_SHEET)), overwrite=overwrite)


def condition_lines(conditions: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The conditions of an evaluation for people: a name and a text for each."""
    for name, value in conditions.items():
        if name == "metrics":
            yield from condition_lines(value)
            continue
        text = str(value)
        if isinstance(value, Mapping):
            short = {key: str(part)[:12] if key == "sha256" else part for key, part in value.items()}
            parts = [f"{key.replace('_', ' ')} {part}" for key, part in short.items() if part not in ("", None)]
            text = ", ".join(parts)
        yield "protocol" if name == "name" else name.replace("_", " "), text


def score_tables(rows: Sequence[Mapping[str, Any]]) -> list[Table]:
    """A table over all images and over every part of them, and one of how well views are estimated."""
    names = _metrics(rows)
    heading = next((heading for key, (heading, _) in _PARTS.items() if key in rows[0]), None)
    if heading is None:  # where there are no parts, the number of images is a column
        counted = next(name for name in _COUNTS if name in rows[0])
        table = Table("model", counted, *names)
        lines = [(row["name"], str(row[counted]), row) for row in rows]
    else:
        table = Table(heading, "model", *names)
        lines = [("all", row["name"], row) for row in rows]
    lines += [line for part in _parts(rows) for line in part["lines"]]
    for k, (first, second, figures) in enumerate(lines):
        ends = heading is not None and (k + 1 == len(lines) or lines[k + 1][0] != first)
        cells = [figure_text(name, figures.get(name)) for name in names]
        table.add_row(escape(first), escape(second), *cells, end_section=ends)
    seen = [row for row in rows if "view_accuracy" in row]
    views = Table("views estimated by", "images", "azimuth right", "within 20°", "elevation right")
    for row in seen:
        count, *shares = row["view_accuracy"].values()
        views.add_row(escape(row["name"]), str(count), *(f"{share:.1%}" for share in shares))
    return [table, views] if seen else [table]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for every row and every part of its pairs; the conditions of a row are in columns with a dot."""
    lines: list[dict[str, Any]] = []
    for row in rows:
        conditions = dict(_flat({name: row[name] for name in ("model", "skipped", "protocol") if name in row}))
        whole = {name: value for name, value in row.items() if not isinstance(value, Mapping)}
        lines.append({"name": row["name"], "part": "all"} | whole | conditions)
        for key in _PARTS:
            for part, figures in row.get(key, {}).items():
                lines.append({"name": row["name"], "part": part} | figures | conditions)
    names = list(dict.fromkeys(name for line in lines for name in line if "." not in name))
    names += list(dict.fromkeys(name for line in lines for name in line if "." in name))
    text = StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def as_page(evaluation: Evaluation, rank_by: str | None = None) -> str:
    """The evaluation as one HTML file: figures, conditions, and the worst, median and best images by one metric.

    Images are inside the file and nothing is loaded from elsewhere; the page says so to the browser, too.
    """
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["heading"] = lambda name: f"{metric_of(name).label} {'↑' if metric_of(name).up else '↓'}"
    page = environment.from_string(files("gfla_cli.evaluation").joinpath("report.html").read_text(encoding="utf-8"))
    rows, conditions = evaluation.to_json(), evaluation.conditions
    models = [row for row in rows if "model" in row] or rows
    more = f" and {len(models) - 1} more" if len(models) > 1 else ""
    data, metrics = conditions["data"]["name"], _metrics(rows)
    best = {}  # metric -> name of the best row, where there is a choice
    for metric in metrics:
        known = [(row[metric], str(row["name"])) for row in models if row.get(metric) is not None]
        if len(known) > 1:
            best[metric] = (max if metric_of(metric).up else min)(known)[1]
    return page.render(
        title=f"Evaluation of {models[0]['name']}{more}",
        lead=f"{evaluation.count} of {data}, {conditions['size']}, protocol {conditions['name']}",
        rows=rows,
        metrics=metrics,
        counted=next((name for name in _COUNTS if name in rows[0]), None),
        best=best,
        figure_text=figure_text,
        skipped=[(metric_of(name).label, why) for name, why in evaluation.skipped.items()],
        parts=list(_parts(rows)),
        conditions=list(condition_lines(conditions)),
        examples=_examples(evaluation, rank_by),
    )


def _metrics(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of the figures in these rows, in order."""
    figures = dict.fromkeys((name, isinstance(value, float | None)) for row in rows for name, value in row.items())
    return list(dict.fromkeys(name for name, is_figure in figures if is_figure or metric_of(name).counted))


def _parts(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The same figures over parts of the pairs, such as those whose pose changes much."""
    for key, (_, title) in _PARTS.items():
        names = dict.fromkeys(part for row in rows for part in row.get(key, ()))
        metrics = _metrics(figures for row in rows for figures in row.get(key, {}).values())
        label = "{}°" if key == "by_difference" else "{}"
        lines = [(label.format(part), row["name"], row[key].get(part, {})) for part in names for row in rows]
        if lines:
            yield {"title": title, "metrics": metrics, "lines": lines}


def _examples(evaluation: Evaluation, rank_by: str | None) -> dict[str, list[dict[str, Any]]]:
    """Worst, median and best pairs of every model, or of every folder; their images are made once more."""
    examples: dict[str, list[dict[str, Any]]] = {}
    for score in [score for score in evaluation.scores if score.about] or evaluation.scores:
        taken = (name for name in _PREFERRED if score.images and name in score.images[0].figures)
        metric = rank_by or next(taken, None)
        if metric is None:
            continue
        for kind, images in picked(score, metric).items():
            pairs = []
            for image in images:
                title, found = evaluation.test.shown(score.name, image.number)
                figure = f"{metric_of(metric).label} {figure_text(metric, image.figures[metric])}"
                pairs.append({"title": title, "figure": figure, "images": {n: _embedded(x) for n, x in found.items()}})
            if any(pair["images"] for pair in pairs):
                title = f"{kind.capitalize()} by {metric_of(metric).label}"
                examples.setdefault(score.name, []).append({"title": title, "pairs": pairs})
    return examples


def _embedded(image: Image) -> str:
    """(H, W, 3) uint8 as a data URL, at most `_SIDE` pixels on its longer side."""
    from PIL import Image as PillowImage

    small = PillowImage.fromarray(image)
    small.thumbnail((_SIDE, _SIDE), PillowImage.Resampling.LANCZOS)
    encoded = BytesIO()
    small.save(encoded, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode("ascii")


def contact_sheet(rows: Sequence[Mapping[str, Image]]) -> Image:
    """Every row's images side by side under their names, two rows next to each other.

    All images are (H, W, 3) uint8 of one size, all rows have the same keys.
    """
    import cv2

    if not rows:
        raise ValueError("a sheet needs at least one row")
    lines = [np.hstack(list(row.values())) for row in rows]
    if len(lines) % 2:
        lines.append(np.full_like(lines[0], 255))
    body = np.hstack([np.vstack(lines[::2]), np.vstack(lines[1::2])])
    labels, width = list(rows[0]) * 2, next(iter(rows[0].values())).shape[1]
    header = np.full((22, body.shape[1], 3), 255, np.uint8)
    for i, label in enumerate(labels):
        cv2.putText(header, label, (i * width + 4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (40, 40, 40), 1, cv2.LINE_AA)
    return np.vstack([header, body])


# Ren et al., CVPR 2020, table 2: what each way to fetch source features gives on DeepFashion.
TABLE_2: tuple[dict[str, Any], ...] = (
    {"name": "Baseline", "sampler": "none", "fid": 16.008, "lpips": 0.2473},
    {"name": "Global-Attn", "sampler": "global", "fid": 18.616, "lpips": 0.2575},
    {"name": "Bi-Sample", "sampler": "bilinear", "fid": 12.143, "lpips": 0.2406},
    {"name": "Full Model", "sampler": "local", "fid": 10.573, "lpips": 0.2341},
)
CONDITIONS = "DeepFashion 256x256, 8570 pairs"


def read_ablations(files: Sequence[Path]) -> dict[str, Any]:
    """The paper's table 2, and the rows of reports of `gfla evaluate` in columns, as plain JSON values.

    Rows of one column have the same data set, protocol and weights of the metrics. Raises DataError for a file that is
    not such a report.
    """
    columns: list[tuple[str, dict[str, Mapping[str, Any]]]] = []  # conditions, and rows by sampler
    for row in (row for file in files for row in _rows(file)):
        sampler, protocol = row["model"]["sampler"], row["protocol"]
        same = json.dumps({k: v for k, v in protocol.items() if k not in _NOT_CONDITIONS}, sort_keys=True)
        # A second model of one sampler is another run: it starts a column of its own.
        column = next((rows for known, rows in columns if known == same and sampler not in rows), None)
        if column is None:
            columns.append((same, column := {}))
        column[sampler] = row
    if not columns:
        raise DataError("no model of a known sampler in these reports", hint=_HINT)
    ours = [_column(list(rows.values())) for _, rows in columns]
    return {"paper": {"conditions": CONDITIONS, "rows": list(TABLE_2)}, "ours": ours}


def _column(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Data set, size and budget in words, and the figures that any of the rows has."""
    protocol = rows[0]["protocol"]
    data = protocol.get("data", {})
    budgets = [_budget(row) for row in rows]
    pairs = str(data.get("pairs", "?")).split(" of ")[0]
    how = f"{protocol.get('size', '?')}, protocol {protocol.get('name', '?')}, {pairs} pairs"
    budget = budgets[0] if len(set(budgets)) == 1 else "budgets differ"
    names = [name for name in _SHOWN if any(row.get(name) is not None for row in rows)]
    return {
        "conditions": f"{data.get('name', 'unknown data')}, {how}; {budget}",
        "rows": [
            {"sampler": row["model"]["sampler"], "budget": budget, **{name: row.get(name) for name in names}}
            for row, budget in zip(rows, budgets, strict=True)
        ],
    }


def ablation_table(report: Mapping[str, Any]) -> tuple[Table, list[str]]:
    """What `read_ablations` gives as a table, and lines that explain the numbers of its columns."""
    table = Table("model", "FID\n(paper)", "LPIPS\n(paper)", caption=f"paper: {CONDITIONS}")
    shown, lines = [], []
    for number, column in enumerate(report["ours"], start=1):
        rows = {row["sampler"]: row for row in column["rows"]}
        for name in (name for name in _SHOWN if name in column["rows"][0]):
            table.add_column(f"{metric_of(name).label}\n({number})", justify="right")
            shown.append((name, rows))
        lines.append(f"({number}) {column['conditions']}")
        if len({row["budget"] for row in column["rows"]}) > 1:
            lines += [f"    {row['sampler']}: {row['budget']}" for row in column["rows"]]
    for entry in TABLE_2:
        ours = (figure_text(name, rows.get(entry["sampler"], {}).get(name)) for name, rows in shown)
        table.add_row(entry["name"], f"{entry['fid']:.3f}", f"{entry['lpips']:.4f}", *ours)
    return table, lines


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    """Rows of models, with their sampler and conditions."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: not a report ({error})"[:200], hint=_HINT) from error
    rows = content if isinstance(content, list) else []
    if not rows or not all(isinstance(row, dict) and "name" in row for row in rows):
        raise DataError(f"{file}: not a report of gfla evaluate", hint=_HINT)
    if not any("protocol" in row for row in rows):
        raise DataError(f"{file}: it holds no conditions of the measurement", hint="measure again")
    for row in rows:
        model = row.get("model")
        if isinstance(model, dict) and "sampler" in model and isinstance(row.get("protocol"), dict):
            yield row


def _budget(row: Mapping[str, Any]) -> str:
    """How long the model was trained, as far as its bundle says, and where the depth of its joints is from."""
    trained = row["model"].get("trained") or {}
    depth = f", depth {row['model']['depth']}" if "depth" in row["model"] else ""
    if not isinstance(trained, dict) or "samples" not in trained:
        return f"budget unknown{depth}"
    dataset = f" of {trained['dataset']}" if "dataset" in trained else ""
    return f"{trained['samples']:,} samples{dataset}".replace(",", " ") + depth
