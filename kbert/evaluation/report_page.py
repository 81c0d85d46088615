"""The page of a report: one HTML file without scripts and without addresses of other files."""

from collections.abc import Mapping, Sequence
from typing import Any

from kbert.evaluation.report_charts import calibration_chart, histogram, line_chart, scatter_chart
from kbert.evaluation.report_style import STYLE
from kbert.evaluation.report_text import escape, marked_text, number, records, table

#: Scores that stand at the top in large figures; all of them stand in a table.
_CARDS = 4
#: From so many classes on, their names stand upright above the table; and from so many it is set small.
_MANY_CLASSES, _SMALL_FROM = 8, 25

Values = Mapping[str, Any]


def report_page(values: Values) -> str:
    """All of `report.json` for readers.

    Args:
        values: Of `Report.values`, or read from a `report.json`.

    Returns:
        HTML. Every text in it is escaped.
    """
    sections = [
        ("scores", "Scores", _scores(values)),
        ("runs", "Runs", _runs(values)),
        ("curves", "Learning curves", _curves(values)),
        ("confusion", "Confusion matrix", _confusion(values["confusion"])),
        ("labels", "Scores by label", _labels(values["per_label"])),
        ("numbers", _numbers_title(values), _numbers(values)),
        ("calibration", "Calibration", _calibration(values["calibration"])),
        ("errors", "The worst errors", _errors(values)),
        ("lengths", "Lengths", _lengths(values["lengths"])),
        ("faults", "Faults of the data", _faults(values["faults"])),
        ("again", "How to reproduce", _again(values)),
    ]
    filled = [(key, title, body) for key, title, body in sections if body]
    links = "".join(f"<a href='#{key}'>{title}</a>" for key, title, _ in filled)
    bodies = "".join(f"<section id='{key}'><h2>{title}</h2>{body}</section>" for key, title, body in filled)
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(values['title'])}</title><style>{STYLE}</style></head><body>"
        f"<h1>{escape(values['title'])}</h1>{_facts(values)}<nav>{links}</nav>{_notes(values)}{bodies}"
        "</body></html>\n"
    )


def _facts(values: Values) -> str:
    """Which model, which files, when."""
    facts = {
        "task": values["task"],
        "model": values["model"],
        **values["data"],
        "rows": number(values["num_rows"]),
        "time": _duration(values["seconds"]),
        "finished": f"{values['finished']}, kbert {values['version']}",
    }
    pairs = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value)
    return f"<dl>{''.join(pairs)}</dl>"


def _notes(values: Values) -> str:
    return "".join(f"<p class='note'>{escape(note)}</p>" for note in values["notes"])


def _scores(values: Values) -> str:
    scores = values["scores"]
    cards = (
        f"<div class='card'>{escape(score['name'])}<b>{number(score['value'])}</b>"
        f"<span>{_interval(score)}</span></div>"
        for score in scores[:_CARDS]
    )
    if not scores:
        return ""
    rows = [[score["name"], score["value"], _interval(score)] for score in scores]
    rest = table(["score", "value", "95 % interval"], rows) if len(scores) > _CARDS else ""
    meaning = (
        "<p class='soft'>The intervals (95 %, bootstrap over the rows) say how far the choice of the rows "
        "may have moved a score. Models whose intervals overlap widely are not told apart by this file.</p>"
    )
    has_intervals = any(score["low"] is not None for score in scores)
    return f"<div class='cards'>{''.join(cards)}</div>{rest}{meaning if has_intervals else ''}"


def _interval(score: Values) -> str:
    if score["low"] is None:
        return ""
    return f"{number(score['low'])} to {number(score['high'])}"


def _runs(values: Values) -> str:
    if not values["runs"] and not values["spread"]:
        return ""
    spread = f"<h3>Mean and spread</h3>{records(values['spread'])}" if values["spread"] else ""
    runs = f"<h3>Each run</h3>{records(values['runs'])}" if values["runs"] else ""
    return spread + runs


def _curves(values: Values) -> str:
    panels = [
        _figure(line_chart(panel["lines"], panel["title"]), panel["title"], panel["lines"])
        for panel in values["curves"]
    ]
    charts = f"<div class='panels'>{''.join(panels)}</div>" if panels else ""
    if not values["history"]:
        return charts
    rows = [{"epoch": epoch, **logs} for epoch, logs in enumerate(values["history"], start=1)]
    return f"{charts}<details><summary>the numbers</summary>{records(rows)}</details>"


def _figure(chart: str, title: str, lines: Sequence[Values] = ()) -> str:
    if not chart:
        return ""
    keys = (f"<span class='key s{place}'>{escape(line['name'])}</span>" for place, line in enumerate(lines))
    key = f"<br>{''.join(keys)}" if len(lines) > 1 else ""
    return f"<figure><figcaption><b>{escape(title)}</b>{key}</figcaption>{chart}</figure>"


def _confusion(confusion: Values | None) -> str:
    if confusion is None:
        return ""
    parts = []
    if confusion["matrix"] is not None:
        parts.append(
            "<p class='soft'>A row is a right class, a column a predicted one; the stronger the "
            "colour, the larger the share of the row.</p>"
        )
        parts.append(_matrix(confusion["labels"], confusion["matrix"]))
    if confusion["pairs"] and len(confusion["labels"]) > 2:
        rows = [[pair["gold"], pair["predicted"], pair["count"]] for pair in confusion["pairs"]]
        parts.append(f"<h3>Most often confused</h3>{table(['right', 'predicted', 'rows'], rows)}")
    return "".join(parts)


def _matrix(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    head = "".join(f"<th class='class' scope='col'>{escape(label)}</th>" for label in labels)
    rows = []
    for place, (label, counts) in enumerate(zip(labels, matrix, strict=True)):
        total = sum(counts)
        cells = "".join(
            _heat(count, total, label, other, is_right=place == column)
            for column, (count, other) in enumerate(zip(counts, labels, strict=True))
        )
        rows.append(f"<tr><th scope='row'>{escape(label)}</th>{cells}<td>{number(total)}</td></tr>")
    many = " many" if len(labels) >= _MANY_CLASSES else ""
    many += " small" if len(labels) >= _SMALL_FROM else ""
    return (
        f"<div class='wide'><table class='confusion{many}'><thead><tr><th>right \\ predicted</th>{head}"
        f"<th class='class' scope='col'>all</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _heat(count: int, total: int, label: str, other: str, *, is_right: bool) -> str:
    """A cell: blue where the answer is right, orange where it is wrong."""
    if not count:
        return "<td class='zero'>0</td>"
    share = count / total
    color = "37, 99, 168" if is_right else "200, 85, 10"
    ink = "color: #fff; " if share > 0.55 else ""
    told = escape(f"{label} taken for {other}: {share:.1%} of {total:,}")
    return (
        f"<td style='{ink}background: rgba({color}, {0.08 + 0.92 * share:.3f})' title='{told}'>"
        f"{number(count)}</td>"
    )


def _labels(per_label: Mapping[str, Values]) -> str:
    if not per_label:
        return ""
    columns = ["precision", "recall", "f1", "support"]
    rows = [[label, *(row[column] for column in columns)] for label, row in per_label.items()]
    return table(["label", *columns], rows)


def _numbers_title(values: Values) -> str:
    told = values["numbers_are"]
    return "Right and predicted numbers" if told == "predicted" else f"Right number and {escape(told)}"


def _numbers(values: Values) -> str:
    told = values["numbers_are"]
    same_unit = told == "predicted"
    chart = scatter_chart(values["number_pairs"], _numbers_title(values), told, same_unit)
    goal = "on the line it would be exactly right" if same_unit else f"the {told} is to rise with the number"
    return chart and _figure(chart, f"Each dot is a row; {goal}")


def _calibration(calibration: Values | None) -> str:
    bins = [row for row in calibration["bins"] if row["confidence"] is not None] if calibration else []
    if calibration is None or not bins:
        return ""
    total = sum(row["count"] for row in bins)
    surplus = sum(row["count"] * (row["confidence"] - row["accuracy"]) for row in bins) / total
    side = "above" if surplus > 0 else "below"
    rows = [
        [f"{row['lower']:.2f} to {row['upper']:.2f}", row["count"], row["confidence"], row["accuracy"]]
        for row in bins
    ]
    chart = calibration_chart(bins, "Calibration diagram")
    return (
        f"<p>Expected calibration error <b>{number(calibration['expected_calibration_error'])}</b>: so far "
        f"apart are confidence and accuracy of a bin, on the mean. Of all answers together the confidence is "
        f"{abs(surplus):.3f} {side} the accuracy. A dot is a bin, the larger the more rows are in it; below "
        f"the dashed line answers are less often right than the model says.</p>"
        f"<figure>{chart}</figure>"
        f"<details><summary>the numbers</summary>"
        f"{table(['confidence from', 'rows', 'confidence', 'accuracy'], rows)}</details>"
    )


def _errors(values: Values) -> str:
    errors = values["errors"]
    if not errors:
        return ""
    by = escape(values["errors_by"])
    key = ""
    if any(text["marks"] for error in errors for text in error["texts"]):
        key = (
            "<p class='soft'><span class='gold'>right, not found</span> &nbsp; "
            "<span class='predicted'>predicted, not right</span> &nbsp; "
            "<span class='found'>found</span></p>"
        )
    shown = "".join(_error(error, by) for error in errors)
    told = f"{len(errors):,} of {values['num_errors']:,} rows that are not right, those of the largest {by}"
    # A number is mostly a little off, which alone does not make it wrong.
    if by.startswith("distance"):
        told = f"Of {values['num_rows']:,} rows the {len(errors):,} of the largest {by}, the largest"
    return f"<p class='soft'>{told} first.</p>{key}{shown}"


def _error(error: Values, by: str) -> str:
    parts = [f"<code>{escape(error['source'])}</code>"]
    if error["gold"] or error["predicted"]:
        parts.append(f"<span class='right'>right: <b>{escape(error['gold']) or '–'}</b></span>")
        parts.append(f"<span class='said'>predicted: <b>{escape(error['predicted']) or '–'}</b></span>")
    parts.append(f"<span class='soft'>{by} {number(error['weight'])}</span>")
    texts = []
    for text in error["texts"]:
        if text["name"]:
            texts.append(f"<span class='soft'>{escape(text['name'])}</span>")
        texts.append(marked_text(text["text"], text["marks"]))
    return f"<article class='error'><header>{''.join(parts)}</header>{''.join(texts)}</article>"


def _lengths(lengths: Values | None) -> str:
    if lengths is None:
        return ""
    chart = histogram(lengths["bins"], lengths["limit"], "Lengths in pieces", "pieces")
    told = {name: number(value) for name, value in lengths.items() if name != "bins"}
    return (
        f"<p>The model read {told['rows']} rows, or windows of long ones, of up to {told['limit']} pieces. "
        f"Half of them have up to {told['p50']}, 95 % up to {told['p95']}, 99 % up to {told['p99']}; the "
        f"longest has {told['longest']}. Texts that lost their end because they were too long: "
        f"{told['truncated']}.</p><figure>{chart}</figure>"
    )


def _faults(faults: Sequence[Values]) -> str:
    if not faults:
        return ""
    rows = [[fault["kind"], fault["count"], _places(fault["places"], fault["count"])] for fault in faults]
    return table(["what", "rows", "where"], rows)


def _places(places: Sequence[str], count: int) -> str:
    return ", ".join(places) + (", …" if count > len(places) else "")


def _again(values: Values) -> str:
    command = f"<pre>{escape(values['command'])}</pre>" if values["command"] else ""
    flags = values["flags"]
    if not flags:
        return command
    rows = table(["setting", "value"], [[name, _setting(value)] for name, value in flags.items()])
    return f"{command}<details><summary>all settings</summary>{rows}</details>"


def _setting(value: Any) -> str:
    """As it is typed; a list by its items."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _duration(seconds: float | None) -> str:
    """As `75 s` or `12 min`."""
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min ({seconds:,.0f} s)"
