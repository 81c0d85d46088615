"""What `report.json` holds, and that both files are whole and say the same."""

import json
from pathlib import Path

import numpy as np
import pytest

from kbert.evaluation import Mark, MarkedText, Report, Score, WrongAnswer, report, write_report
from kbert.evaluation.report_page import report_page


def error(weight, text="a film"):
    return WrongAnswer("dev.tsv:2", [MarkedText(text)], "good", "bad", weight)


def small(**fields):
    return Report("Films", "classification", "runs/films", {"dev": "dev.tsv"}, 3, (), **fields)


def test_both_files_say_the_same(tmp_path):
    wrong = WrongAnswer("dev.tsv:1", (MarkedText("Ann", "", (Mark(0, 3, "PER", "gold"),)),), "", "", 1.0)
    told = Report(
        "Films",
        "tagging",
        "runs/films",
        {"dev": "dev.tsv"},
        np.int64(3),
        [Score("f1", np.float32(0.5), 0.25, 0.75)],
        per_label={"PER": {"precision": 1.0, "recall": 0.5, "f1": np.float64(2 / 3), "support": 4}},
        errors=[wrong],
        flags={"columns": ("text", "label"), "seed": None, "strict": True},
    )
    write_report(tmp_path / "new" / "folder", told)
    (page,) = (tmp_path / "new" / "folder").glob("*.html")
    values = json.loads(page.with_name("report.json").read_text(encoding="utf-8"))
    assert report_page(values) == page.read_text(encoding="utf-8")
    assert values == told.values() | {"finished": values["finished"]}
    assert values["num_rows"] == 3 and values["scores"][0] == {
        "name": "f1",
        "value": 0.5,
        "low": 0.25,
        "high": 0.75,
    }
    assert values["per_label"]["PER"]["f1"] == 2 / 3
    assert values["errors"][0]["texts"][0]["marks"] == [
        {"begin": 0, "end": 3, "label": "PER", "role": "gold"}
    ]
    assert values["flags"] == {"columns": ["text", "label"], "seed": None, "strict": True}
    assert sorted(file.name for file in page.parent.iterdir()) == ["report.html", "report.json"]


def test_what_is_no_number_is_null(tmp_path):
    told = small(
        history=[{"loss": float("nan")}, {"loss": np.float32("inf")}],
        number_pairs=np.array([[1.0, np.nan], [2.0, 2.5]]),
        curves=[{"title": "loss", "lines": [{"name": "a", "points": [[1, float("nan")], [2, 0.5]]}]}],
        errors=[error(float("nan")), error(0.1)],
    )
    write_report(tmp_path, told)
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    values = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert values["history"] == [{"loss": None}, {"loss": None}]
    assert values["number_pairs"] == [[1.0, None], [2.0, 2.5]]
    assert [wrong["weight"] for wrong in values["errors"]] == [0.1, None]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "nan" not in page and "inf" not in page.replace("info", "")


def test_the_worst_errors_are_kept():
    weights = np.random.default_rng(1).permutation(80) / 80
    values = small(errors=[error(weight) for weight in weights]).values()
    assert [wrong["weight"] for wrong in values["errors"]] == sorted(weights.tolist(), reverse=True)[:50]
    assert values["num_errors"] == 80


def test_of_very_long_texts_a_part_is_told():
    """Around the first mistake: what is marked in both roles was found."""
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 10_000))) * 50
    marks = [Mark(3_000, 3_005, "A", role) for role in ("gold", "predicted")]
    marks += [
        Mark(*ends, "", "gold") for ends in ((402_000, 402_009), (420_995, 421_009), (490_000, 490_007))
    ]
    told = small(
        errors=[
            WrongAnswer("f:1", [MarkedText(text, "context", marks), MarkedText(text)], "", "", 1.0),
            error(0.5, text[:20_000]),
        ]
    )
    (part, beginning), (whole,) = (wrong["texts"] for wrong in told.values()["errors"])
    assert part["text"] == f"… {text[401_000:421_000]} … (characters 401,001 to 421,000 of 500,000)"
    marked = [part["text"][mark["begin"] : mark["end"]] for mark in part["marks"]]
    assert marked == [text[402_000:402_009], text[420_995:421_000]] and part["name"] == "context"
    assert beginning["text"] == f"{text[:20_000]} … (characters 1 to 20,000 of 500,000)"
    assert whole["text"] == text[:20_000]


def test_half_characters_come_back(tmp_path):
    write_report(tmp_path, small(errors=[error(1.0, "half \ud83d, whole 😀, \x00, 中")]))
    values = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert values["errors"][0]["texts"][0]["text"] == "half \ud83d, whole 😀, \x00, 中"
    assert "half \ufffd, whole 😀, \ufffd, 中" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_an_old_report_stays_whole_when_a_new_one_fails(tmp_path, monkeypatch):
    write_report(tmp_path, small())
    old = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def fail(*args):
        raise OSError(28, "disk full")

    with monkeypatch.context() as patch:
        patch.setattr(report, "report_page", fail)
        with pytest.raises(OSError, match="disk full"):
            write_report(tmp_path, small(notes=["new"]))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == old
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="disk full"):
            write_report(tmp_path, small(notes=["new"]))
    assert old == {name: (tmp_path / name).read_bytes() for name in old}
