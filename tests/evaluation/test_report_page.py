"""The page: the numbers of `report.json`, sections that there is something to tell of, and safe HTML."""

import dataclasses
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from kbert.evaluation import (
    Mark,
    MarkedText,
    Report,
    Score,
    WrongAnswer,
    calibration,
    confusion,
    label_scores,
    learning_curves,
    length_figures,
    number_pairs,
)
from kbert.evaluation.report_page import report_page
from kbert.evaluation.report_text import escape, number

EVIL = "<script>alert('1')</script>\"&\x01"
VOID = {"meta", "br"}


class Page(HTMLParser):
    """Checks that tags are closed in order; collects text by section, tags and attributes."""

    def __init__(self, page):
        super().__init__()
        self.open, self.sections, self.tags, self.attributes = [], {}, [], []
        self.section = ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.section = dict(attrs)["id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.sections[self.section] = self.sections.get(self.section, "") + data + "\n"


def page_of(report):
    values = json.loads(json.dumps(report.values(), allow_nan=False))
    page = report_page(values)
    return values, page, Page(page)


def full(text="a film", label="good"):
    """A report with every part in it."""
    rng = np.random.default_rng(4)
    labels = [label, "bad", "dull"]
    gold, predicted, sure = rng.integers(3, size=90), rng.integers(3, size=90), rng.uniform(0.4, 1, size=90)
    history = [{"loss": 0.7123, "val_accuracy": 0.3111}, {"loss": 0.5456, "val_accuracy": 0.4222}]
    marks = [Mark(0, 3, label, "gold"), Mark(1, 5, label, "predicted")]
    return Report(
        title=text,
        task="classification",
        model=text,
        data={text: text},
        num_rows=90,
        scores=[Score(text, 0.43219, 0.3371, 0.5277), *(Score(f"s{n}", n / 7) for n in range(5))],
        seconds=75.25,
        command=f"finetune.py --train={text}",
        flags={text: [text, 3], "learning_rate": 2e-5},
        notes=[text],
        runs=[{"seed": 1, text: 0.4111}, {"seed": 2, text: None}],
        spread=[{"learning_rate": 2e-5, "mean": 0.4144, text: text}],
        confusion=confusion(gold, predicted, labels),
        per_label=label_scores(gold, predicted, labels),
        calibration=calibration(sure, gold == predicted),
        number_pairs=number_pairs([1.0, 2.0], [1.5, 2.5]),
        history=history,
        curves=[
            *learning_curves(history),
            {"title": text, "lines": [{"name": text, "points": [[1, 2.0]]}] * 2},
        ],
        lengths=length_figures(rng.integers(3, 128, size=90), 128, 9),
        errors=[WrongAnswer(text, [MarkedText(text, text, marks)], text, text, 0.9876)],
        errors_by=text,
        faults=[{"kind": text, "count": 7, "places": (text, "dev.tsv:9")}],
    )


def test_no_text_becomes_a_tag():
    _, page, parsed = page_of(full(EVIL, EVIL))
    assert not {"script", "img", "link", "iframe", "base", "object"} & set(parsed.tags)
    assert "<script" not in page and "alert('" not in page and "\x01" not in page
    assert page.count(escape(EVIL)) >= 20
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]


def test_the_page_needs_no_other_file():
    _, page, parsed = page_of(full())
    addresses = [value for name, value in parsed.attributes if name in ("href", "src", "srcset", "action")]
    assert addresses and all(value.startswith("#") for value in addresses)
    assert not re.search(r"://|url\(|@import", page)
    ids = [value for name, value in parsed.attributes if name == "id"]
    assert addresses == [f"#{key}" for key in ids]


def test_every_number_is_on_the_page():
    values, _, parsed = page_of(full())
    text = parsed.sections

    def assert_told(section, numbers):
        missing = [number(value) for value in numbers if number(value) not in text[section].split("\n")]
        assert not missing, section

    assert_told("", [90])
    assert_told("scores", [score["value"] for score in values["scores"]])
    assert "0.3371 to 0.5277" in text["scores"]
    assert_told("runs", [0.4111, 0.4144, 2e-5, None])
    assert_told("curves", [0.7123, 0.5456, 0.3111, 0.4222])
    assert_told("confusion", [count for row in values["confusion"]["matrix"] for count in row])
    assert_told("confusion", [pair["count"] for pair in values["confusion"]["pairs"]])
    assert_told("labels", [value for row in values["per_label"].values() for value in row.values()])
    bins = [row for row in values["calibration"]["bins"] if row["count"]]
    assert_told("calibration", [row[name] for row in bins for name in ("count", "confidence", "accuracy")])
    assert_told("calibration", [values["calibration"]["expected_calibration_error"]])
    assert "0.9876" in text["errors"]
    told = " ".join(text["lengths"].split())
    assert told.startswith("Lengths The model read 90 rows, or windows of long ones, of up to 128 pieces.")
    assert f"Half of them have up to {values['lengths']['p50']}," in told
    assert "because they were too long: 9." in told
    assert_told("faults", [7])
    assert "finetune.py --train=a film" in text["again"] and "2e-05" in text["again"]


def test_what_a_task_does_not_have_is_left_out():
    bare = Report("STS-B", "regression", "runs/stsb", {}, 5, [Score("pearson", 0.5)])
    _, _, parsed = page_of(bare)
    assert set(parsed.sections) == {"", "scores"}
    assert "95 %" not in parsed.sections["scores"].replace("\n", " ") and "None" not in str(parsed.sections)
    numbers = Report("STS-B", "regression", "m", {}, 2, [], number_pairs=[[1, 2.0], [3, 3.5]])
    _, page, parsed = page_of(numbers)
    assert set(parsed.sections) == {"", "numbers"} and "on the line it would be exactly right" in page
    _, page, _ = page_of(dataclasses.replace(numbers, numbers_are="cosine"))
    assert "Right number and cosine" in page and "on the line" not in page


@pytest.mark.parametrize("num_classes", [1, 2, 12, 50, 51])
def test_any_number_of_classes(num_classes):
    gold = np.arange(num_classes)
    predicted = np.minimum(gold + 1, num_classes - 1)
    labels = [f"class {n}" for n in range(num_classes)]
    told = Report("t", "c", "m", {}, num_classes, [], confusion=confusion(gold, predicted, labels))
    _, page, parsed = page_of(told)
    cells = page.count("background: rgba(") + page.count("class='zero'")
    assert cells == (num_classes**2 if num_classes <= 50 else 0)
    assert ("Most often confused" in page) == (num_classes > 2)


def test_the_colour_of_a_cell_is_its_share_of_the_row():
    gold = np.repeat([0, 1], [10, 4])
    predicted = np.array([0] * 8 + [1] * 2 + [0] * 4)
    page = page_of(Report("t", "c", "m", {}, 14, [], confusion=confusion(gold, predicted, ["a", "b"])))[1]
    cells = re.findall(r"rgba\(([\d, ]+), ([\d.]+)\)' title='(.*?)'>(\d+)", page)
    blue, orange = "37, 99, 168", "200, 85, 10"
    assert cells == [
        (blue, f"{0.08 + 0.92 * 0.8:.3f}", "a taken for a: 80.0% of 10", "8"),
        (orange, f"{0.08 + 0.92 * 0.2:.3f}", "a taken for b: 20.0% of 10", "2"),
        (orange, "1.000", "b taken for a: 100.0% of 4", "4"),
    ]


def test_calibration_says_in_which_direction_it_errs():
    for sure, right, words in (
        (0.9, [1, 0], "confidence is 0.400 above the accuracy"),
        (0.6, [1, 1], "confidence is 0.400 below the accuracy"),
    ):
        table = calibration(np.full(2, sure), np.array(right))
        parsed = page_of(Report("t", "c", "m", {}, 2, [], calibration=table))[2]
        assert words in parsed.sections["calibration"]


def test_a_model_without_confidences_has_no_diagram():
    table = calibration(np.full(2, np.nan), np.array([1, 0]))
    assert set(page_of(Report("t", "c", "m", {}, 2, [], calibration=table))[2].sections) == {""}
