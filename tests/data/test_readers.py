"""Labelled files in every form, and every way in which they can be wrong."""

import json
import re

import pytest

from kbert.data import (
    Example,
    label_list,
    read_anchors,
    read_conll,
    read_entities,
    read_examples,
    read_label_sets,
    read_questions,
    read_scored_examples,
    read_similar_texts,
    read_triples,
    row_ids,
)
from kbert.data.corpus import source_stamp
from kbert.data.labelled_rows import Column, read_columns
from kbert.errors import InputError


def write(path, text, encoding="utf-8"):
    path.write_text(text, encoding=encoding)
    return str(path)


def plain(examples):
    return [(example.text, example.pair, example.label) for example in examples]


def test_tsv_is_unquoted_and_names_its_lines(tmp_path):
    path = write(tmp_path / "a.tsv", 'sentence\tlabel\n"quite good\t1\n\nbad "film"\t0\n')
    examples = read_examples(path)
    assert plain(examples) == [('"quite good', None, "1"), ('bad "film"', None, "0")]
    assert examples[1].source == f"{path}:4"


def test_byte_order_mark_and_windows_lines(tmp_path):
    path = write(tmp_path / "m.tsv", "Quality\t#1 String\t#2 String\r\n1\ta b\tc d\r\n", "utf-8-sig")
    assert plain(read_examples(path)) == [("a b", "c d", "1")]


def test_csv_is_quoted(tmp_path):
    path = write(tmp_path / "a.csv", 'text,label\n"one, two",x\n"say ""hi""",y\n')
    assert plain(read_examples(path)) == [("one, two", None, "x"), ('say "hi"', None, "y")]


def test_jsonl_and_chosen_columns(tmp_path):
    rows = [{"q": "你好", "a": "世界", "gold": 2, "x": None}, {"q": "b", "a": "c", "gold": 0, "x": None}]
    path = write(tmp_path / "a.jsonl", "\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    examples = read_examples(path, text_column="q", pair_column="a", label_column="gold")
    assert plain(examples) == [("你好", "世界", "2"), ("b", "c", "0")]
    assert plain(read_examples(path, text_column="q", label_column="gold"))[0] == ("你好", None, "2")


def test_an_empty_pair_column_reads_single_texts(tmp_path):
    path = write(tmp_path / "a.tsv", "text_a\ttext_b\tlabel\nx\ty\t1\n")
    assert plain(read_examples(path)) == [("x", "y", "1")]
    assert plain(read_examples(path, pair_column="")) == [("x", None, "1")]


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.tsv", "", "a.tsv: is empty"),
        ("a.csv", "\ntext,label\nx,1\n", "a.csv: is empty or begins with an empty line; expected a header"),
        ("a.csv", "text;label\nx;1\n", "none of the columns text;label .*; expected a comma between columns"),
        ("a.csv", "text\tlabel\nx\t1\n", "; expected a comma between columns in .csv, a tab in .tsv"),
        ("a.tsv", "text,label\nx,1\n", "none of the columns text,label .*; expected a comma between columns"),
        ("a.tsv", "text\tlabel\n", "no rows"),
        ("a.tsv", "text\tlabel\nx\t1\nonly one\n", "a.tsv:3: 1 columns.*names 2"),
        ("a.tsv", "body\tlabel\nx\t1\n", "none of the columns body, label.*--text_column"),
        ("a.tsv", "text\tlabel\nx\t\n", "a.tsv:2: the label is empty"),
        ("a.tsv", "text\tlabel\nx\t \n", "a.tsv:2: the label is empty"),
        ("a.csv", 'text,label\n"x",1\n"y,1\nz,1\n', "a.csv:3: is no well-formed CSV .*unexpected end"),
        ("a.csv", 'text,label\n"a\nb",1\n"y" z,1\nz,1\n', "a.csv:4: is no well-formed CSV .*expected after"),
        ("a.jsonl", '{"text": "x", "label": 1}\n{"text": \n', "a.jsonl:2: is no JSON"),
        ("a.jsonl", "[1]\n", "a.jsonl:1: is a list"),
        ("a.jsonl", '{"text": "x", "label": 1}\n{"label": 1}\n', "a.jsonl:2: the row has no 'text'"),
        ("a.jsonl", '{"text": NaN, "label": 1}\n', "a.jsonl:1: the row has no 'text'"),
        ("a.jsonl", '{"text": "x", "label": NaN}\n', "a.jsonl:1: the label is empty"),
        ("a.tsv", "text\tlabel\ttext\nx\t1\ty\n", "a.tsv:2: several columns have the name 'text'; rename"),
        ("a.csv", "text,label,label\nx,1,2\n", "a.csv:2: several columns have the name 'label'; rename"),
        ("a.csv", 'text,label\n"one\ntwo",1\nthree,\n', "a.csv:4: the label is empty"),
        ("a.jsonl", '{"text": ["x"], "label": 1}\n', r"a.jsonl:1: 'text' is \['x'\]; expected a text"),
        ("a.jsonl", '{"text": {"a": 1}, "label": 1}\n', "a.jsonl:1: 'text' is {'a': 1}; expected a text"),
        ("a.jsonl", '{"text": "x", "label": [1]}\n', r"a.jsonl:1: the label is \[1\]; .*--task=multi_label"),
        (
            "a.jsonl",
            '{"text": "x", "label": 1}\n{"text": "x", "text_b": "y", "label": 1}\n',
            "a.jsonl:2: has 'text_b', which .*a.jsonl:1 has not; .*same names.*--pair_column= to read single",
        ),
        (
            "a.jsonl",
            '{"text": "x", "label": 1}\n{"text": "y", "class": 2}\n',
            "a.jsonl:2: has 'class', the rows before it 'label'; expected the same names in each row",
        ),
        ("a.xlsx", "x", "extension '.xlsx'"),
    ],
)
def test_bad_files_name_file_line_and_remedy(tmp_path, name, text, message):
    with pytest.raises(InputError, match=message):
        read_examples(write(tmp_path / name, text))


@pytest.mark.parametrize("read", [read_examples, read_conll, read_questions])
def test_compressed_files_are_refused(read):
    with pytest.raises(InputError, match="train.tsv.gz: is compressed; expected a plain file; unpack it"):
        read("train.tsv.gz")


def test_all_broken_lines_of_a_file_are_named(tmp_path):
    """QQP of GLUE has two dozen in the middle of it."""
    lines = ["text\tlabel", "x\t1", "y", "z\t0", "a\tb\tc"]
    with pytest.raises(InputError, match=r"a.tsv:3: 1 columns, .* names 2 .*; 1 more such lines: 5$"):
        read_examples(write(tmp_path / "a.tsv", "\n".join(lines)))
    with pytest.raises(InputError, match=r"; 14 more such lines: 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, \.\.\.$"):
        read_examples(write(tmp_path / "b.tsv", "\n".join([*lines, *["y"] * 13])))


@pytest.mark.parametrize(
    "line, reason", [("[" * 100_000, "recursion"), ("1" * 5000, "limit")], ids=["deep", "long"]
)
def test_json_that_python_refuses(tmp_path, line, reason):
    with pytest.raises(InputError, match=f"a.jsonl:2: is no JSON .*{reason}.*; expected one object a line"):
        read_examples(write(tmp_path / "a.jsonl", '{"text": "x", "label": 1}\n' + line))


def test_a_row_is_named_by_the_line_it_begins_in(tmp_path):
    path = write(tmp_path / "a.csv", 'text,label\n\n"one\ntwo",x\nthree,"y"\n')
    examples = read_examples(path)
    assert plain(examples) == [("one\ntwo", None, "x"), ("three", None, "y")]
    assert [example.source for example in examples] == [f"{path}:3", f"{path}:5"]
    path = write(tmp_path / "b.csv", '"one\ntwo",x\nthree,y\n')
    assert [row.source for row in read_examples(path, columns=["text", "label"])] == [
        f"{path}:1",
        f"{path}:3",
    ]


def test_a_field_may_be_as_long_as_a_book(tmp_path):
    (example,) = read_examples(write(tmp_path / "a.csv", f'text,label\n"{"a, b " * 40_000}",x\n'))
    assert len(example.text) == 200_000 and example.label == "x"


def test_names_of_columns_that_are_not_read_may_repeat_or_be_empty(tmp_path):
    path = write(tmp_path / "a.csv", ",text,note,note,,label\n0,a,n,m,,x\n")
    assert plain(read_examples(path)) == [("a", None, "x")]
    with pytest.raises(InputError, match="a.csv:2: several columns have the name 'note'"):
        read_examples(path, pair_column="note")
    path = write(tmp_path / "cola.tsv", "gj04\t1\t\tIt fits.\n")
    for unread in ("", "_"):
        assert plain(read_examples(path, columns=[unread, "label", unread, "sentence"])) == [
            ("It fits.", None, "1")
        ]


def test_what_is_no_second_text_and_what_need_not_be_read(tmp_path):
    rows = '{"text": "x", "label": 1}\n{"text": "y", "text_pair": null, "label": 2}\n'
    assert plain(read_examples(write(tmp_path / "a.jsonl", rows))) == [("x", None, "1"), ("y", None, "2")]
    path = write(tmp_path / "b.jsonl", rows.replace("null", '"z"'))
    assert plain(read_examples(path, pair_column="")) == [("x", None, "1"), ("y", None, "2")]


def test_of_unlabelled_rows_some_may_have_labels(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "x"}\n{"text": "y", "label": 3}\n')
    assert [row.label for row in read_examples(path, labelled=False)] == [None, "3"]
    assert [row.labels for row in read_label_sets(path, labelled=False)] == [(), ("3",)]
    assert [row.score for row in read_scored_examples(path, labelled=False)] == [None, 3.0]
    path = write(tmp_path / "b.jsonl", '{"text": "x", "labels": ["a", "b"]}\n')
    assert [row.text for row in read_examples(path, labelled=False)] == ["x"]


def test_an_empty_name_of_a_column_that_must_be_is_refused(tmp_path):
    """As of a variable of the shell that is not set; all texts would be "None"."""
    path = write(tmp_path / "a.tsv", "text\tlabel\na\t1\n")
    for read in (read_examples, read_label_sets, read_scored_examples):
        with pytest.raises(
            InputError, match="a.tsv:2: '' is no name .* with the text, .* text, label; set --t"
        ):
            read(path, text_column="", labelled=False)
        column = "score_column" if read is read_scored_examples else "label_column"
        with pytest.raises(InputError, match="a.tsv:2: '' is no name .* set --label_column, or"):
            read(path, **{column: ""})
        assert len(read(path, **{column: ""}, labelled=False)) == 1
    path = write(tmp_path / "p.tsv", "anchor\tpositive\na\tb\n")
    with pytest.raises(InputError, match="p.tsv:2: '' is no name .* with the pair, .* set --pair_column"):
        read_similar_texts(path, pair_column="")
    with pytest.raises(InputError, match="p.tsv:2: '' is no name .* with the text"):
        read_anchors(path, text_column="")
    path = write(tmp_path / "e.jsonl", '{"text": "a", "entities": []}\n')
    for column in ("text_column", "entities_column"):
        with pytest.raises(InputError, match="e.jsonl:1: '' is no name"):
            read_entities(path, **{column: ""})


def test_missing_file_wrong_column_wrong_encoding(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_examples(str(tmp_path / "none.tsv"))
    path = write(tmp_path / "a.tsv", "text\tlabel\nx\t1\n")
    with pytest.raises(InputError, match="no column 'body'.*text, label"):
        read_examples(path, text_column="body")
    (tmp_path / "b.tsv").write_bytes("text\tlabel\ncaf\u00e9\t1\n".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        read_examples(str(tmp_path / "b.tsv"))


def test_labels_in_order():
    def examples(labels):
        return [Example("x", None, label, "f:1") for label in labels]

    assert label_list(examples(["10", "2", "-1", "2"])) == ["-1", "2", "10"]
    assert label_list(examples(["no", "Yes", "maybe"])) == ["Yes", "maybe", "no"]
    with pytest.raises(InputError, match="all 2 rows have the label 'a'"):
        label_list(examples(["a", "a"]))


def test_tfds_by_name_offline(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")

    class TinySentiment(tfds.core.GeneratorBasedBuilder):
        """Four rows, made here; the last one without a label, as SNLI has some."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "sentence": tfds.features.Text(),
                "label": tfds.features.ClassLabel(names=["bad", "good"]),
                "topics": tfds.features.Sequence(tfds.features.ClassLabel(names=["art", "sport"])),
                "choices": tfds.features.Sequence(tfds.features.Text()),
                "answer": tfds.features.Text(),
            }
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            rows = [("schön", "good"), ("b", "bad"), ("c", "good"), ("no gold", -1)]
            return {"train": self._generate_examples(rows), "dev": self._generate_examples([("d", "bad")])}

        def _generate_examples(self, rows):
            more = {"topics": ["sport", "art"], "choices": ["no", "já"], "answer": "B"}
            for number, (text, label) in enumerate(rows):
                yield number, {"sentence": text, "label": label, **more}

    TinySentiment(data_dir=str(tmp_path)).download_and_prepare()
    examples = read_examples("tfds:tiny_sentiment", data_dir=str(tmp_path))
    assert sorted(plain(examples)) == [("b", None, "bad"), ("c", None, "good"), ("schön", None, "good")]
    assert all(re.fullmatch("tfds:tiny_sentiment/train:[1-4]", row.source) for row in examples)
    everything = read_examples("tfds:tiny_sentiment", data_dir=str(tmp_path), no_label="")
    assert ("no gold", None, "-") in plain(everything) and len(everything) == 4
    with pytest.raises(InputError, match="tfds:no_such_thing"):
        read_examples("tfds:no_such_thing", data_dir=str(tmp_path))
    with pytest.raises(InputError, match="tfds:tiny_sentiment.*test"):
        read_examples("tfds:tiny_sentiment", data_dir=str(tmp_path), split="test")
    where = {"source": "tfds:tiny_sentiment", "data_dir": str(tmp_path), "split": "dev"}
    (row,) = read_label_sets(label_column="topics", **where)
    assert (row.text, row.labels) == ("d", ("sport", "art"))
    with pytest.raises(InputError, match="tiny_sentiment/dev:1: 'choices' is .*expected a text"):
        read_triples(text_column="sentence", pair_column="choices", **where)
    with pytest.raises(InputError, match="tiny_sentiment/dev:1: the score is 'bad'"):
        read_scored_examples(score_column="label", **where)
    rows = list(
        read_columns(
            "tfds:tiny_sentiment",
            [Column("choices", None, ("choices",))],
            split="dev",
            data_dir=str(tmp_path),
        )
    )
    assert rows == [("tfds:tiny_sentiment/dev:1", [["no", "já"]])]


def test_a_data_set_of_tfds_that_cannot_be_prepared(tmp_path, monkeypatch):
    """As without network, or without the packages that it needs."""
    tfds = pytest.importorskip("tensorflow_datasets")

    def unreachable(*_, **__):
        raise tfds.download.DownloadError("no route to dl.example.org")

    monkeypatch.setattr(tfds, "builder", unreachable)
    with pytest.raises(InputError, match="tfds:glue/sst2: .*DownloadError: no route.*TFDS_DATA_DIR.*file"):
        read_examples("tfds:glue/sst2", data_dir=str(tmp_path))
    with pytest.raises(InputError, match="tfds:glue/sst2: .*DownloadError: no route"):
        source_stamp("tfds:glue/sst2")


def test_a_file_without_header(tmp_path):
    path = write(tmp_path / "cola.tsv", "gj04\t1\t\tIt fits.\ncj99\t0\t*\tIt fit it.\n")
    names = ["source", "label", "star", "sentence"]
    examples = read_examples(path, columns=names)
    assert plain(examples) == [("It fits.", None, "1"), ("It fit it.", None, "0")]
    assert examples[0].source == f"{path}:1"
    with pytest.raises(InputError, match="cola.tsv:1: 4 columns, but --columns names 2"):
        read_examples(path, columns=["label", "sentence"])
    with pytest.raises(InputError, match="--columns if the file has no header"):
        read_examples(path)
    with pytest.raises(InputError, match="JSON names its own"):
        read_examples(write(tmp_path / "a.jsonl", "{}"), columns=names)


def test_rows_on_whose_label_people_did_not_agree(tmp_path, caplog):
    path = write(tmp_path / "a.tsv", "text\tlabel\na\t1\nb\t-\nc\t0\nd\t-\n")
    with caplog.at_level("WARNING", logger="absl"):
        assert plain(read_examples(path)) == [("a", None, "1"), ("c", None, "0")]
    assert "2 of 4 rows have the label '-'" in caplog.text and "a.tsv:3" in caplog.text
    assert len(read_examples(path, no_label="")) == 4
    assert len(read_examples(path, labelled=False)) == 4
    with pytest.raises(InputError, match="no row has a label"):
        read_examples(write(tmp_path / "b.tsv", "text\tlabel\na\t-\n"))


def test_several_labels_in_lists_or_separated(tmp_path):
    rows = [
        {"text": "a", "labels": ["x", "y"]},
        {"text": "b", "labels": []},
        {"text": "c", "labels": "y , x,y"},
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    examples = read_label_sets(path)
    assert [example.labels for example in examples] == [("x", "y"), (), ("y", "x")]
    path = write(tmp_path / "a.tsv", "text\tlabel\na\tx|y\nb\t\n")
    assert [example.labels for example in read_label_sets(path, separator="|")] == [("x", "y"), ()]


@pytest.mark.parametrize(
    "cell, labels",
    [
        ('["a", "b, c"]', ("a", "b, c")),
        (' [ "a" ]', ("a",)),
        ("[]", ()),
        ("[1, 2]", ("1", "2")),
        ("[sic], a", ("[sic]", "a")),
        ("a, [sic]", ("a", "[sic]")),
    ],
)
def test_a_list_in_a_cell(tmp_path, cell, labels):
    (row,) = read_label_sets(write(tmp_path / "a.tsv", f"text\tlabels\nx\t{cell}\n"))
    assert row.labels == labels
    (row,) = read_label_sets(write(tmp_path / "a.jsonl", json.dumps({"text": "x", "labels": cell})))
    assert row.labels == labels


@pytest.mark.parametrize(
    "labels, message",
    [
        ("['a', 'b']", "the labels are .*; expected a JSON list, with double quotation marks"),
        ("['a']", "expected a JSON list"),
        ("[a, b]", "expected a JSON list, .* or labels with ',' between them"),
        ({"a": 1, "b": 0}, "the labels are {'a': 1, 'b': 0}; expected a list of those that apply"),
        (["a", None], "one of the labels is null; expected texts"),
        ([["a"]], r'one of the labels is \["a"\]; expected texts'),
        ([{"a": 1}], 'one of the labels is {"a": 1}; expected texts'),
    ],
)
def test_labels_that_would_be_read_wrongly(tmp_path, labels, message):
    with pytest.raises(InputError, match=f"a.jsonl:1: .*{message}"):
        read_label_sets(write(tmp_path / "a.jsonl", json.dumps({"text": "x", "labels": labels})))


def test_an_empty_separator(tmp_path):
    with pytest.raises(InputError, match="--separator= is empty; expected what stands between labels"):
        read_label_sets(write(tmp_path / "a.tsv", "text\tlabels\nx\ta\n"), separator="")


def test_scores(tmp_path):
    path = write(tmp_path / "a.tsv", "sentence1\tsentence2\tscore\na\tb\t4.75\nc\td\t0\n")
    rows = read_scored_examples(path)
    assert [(row.text, row.pair, row.score, row.source) for row in rows] == [
        ("a", "b", 4.75, f"{path}:2"),
        ("c", "d", 0.0, f"{path}:3"),
    ]
    for bad in ("high", "nan", ""):
        path = write(tmp_path / "b.tsv", f"text\tscore\na\t1\nb\t{bad}\n")
        with pytest.raises(InputError, match=f"b.tsv:3: the score is {bad!r}"):
            read_scored_examples(path)


def test_triples_and_pairs(tmp_path):
    path = write(tmp_path / "t.tsv", "anchor\tpositive\tnegative\na\tb\tc\n")
    (triple,) = read_triples(path)
    assert (triple.anchor, triple.positive, triple.negative) == ("a", "b", "c")
    (pair,) = read_triples(write(tmp_path / "p.tsv", "sentence1\tsentence2\na\tb\n"))
    assert (pair.anchor, pair.positive, pair.negative) == ("a", "b", None)
    rows = ['{"anchor": "a", "positive": "b"}', '{"anchor": "a", "positive": "b", "negative": "c"}']
    with pytest.raises(InputError, match="j.jsonl:2: has 'negative', which .*j.jsonl:1 has not; .*each row$"):
        read_triples(write(tmp_path / "j.jsonl", "\n".join(rows)))
    with pytest.raises(InputError, match=r"j.jsonl:1: 'negative' is \['c', 'd'\]; expected a text"):
        read_triples(write(tmp_path / "j.jsonl", rows[1].replace('"c"', '["c", "d"]')))


def test_the_columns_tell_scored_pairs_from_pairs(tmp_path):
    path = write(tmp_path / "s.tsv", "q\tsentence2\tlabel\na\tb\t4\n")
    assert read_similar_texts(path, text_column="q") == read_scored_examples(path, text_column="q")
    (pair,) = read_similar_texts(path, text_column="q", score_column="")
    assert (pair.anchor, pair.positive, pair.negative) == ("a", "b", None)
    path = write(tmp_path / "t.jsonl", '{"query": "a", "fits": "b", "negative": "c"}\n')
    (triple,) = read_similar_texts(path, pair_column="fits")
    assert (triple.anchor, triple.positive, triple.negative) == ("a", "b", "c")
    path = write(tmp_path / "n.tsv", "sentence1\tsentence2\tlabel\na\tb\tentailment\n")
    with pytest.raises(InputError, match="n.tsv:2: the score is 'entailment'"):
        read_similar_texts(path)


def test_texts_without_scores_and_labels(tmp_path):
    path = write(tmp_path / "a.tsv", "text\na\n")
    assert read_scored_examples(path, labelled=False)[0].score is None
    assert read_label_sets(path, labelled=False)[0].labels == ()
    path = write(tmp_path / "b.tsv", "text\tscore\na\t\nb\t2.5\nc\t-\nd\tNA\ne\tnan\n")
    scores = [row.score for row in read_scored_examples(path, labelled=False)]
    assert scores == [None, 2.5, None, None, None]
    rows = [{"text": "a", "label": {"x": 1}}, {"text": "b", "label": "['x'"}, {"text": "c", "label": "x"}]
    path = write(tmp_path / "c.jsonl", "\n".join(map(json.dumps, rows)))
    assert [row.labels for row in read_label_sets(path, labelled=False)] == [(), (), ("x",)]
    with pytest.raises(InputError, match="c.jsonl:1: the labels are {'x': 1}"):
        read_label_sets(path)


@pytest.mark.parametrize(
    "name, settings, rows",
    [
        ("cola/train.tsv", {"columns": ["source", "label", "star", "sentence"]}, 7244),
        ("mrpc/dev.tsv", {}, 479),
        ("ocnli/dev.jsonl", {}, 1494),
        ("rte/dev.tsv", {}, 363),
        ("trec/dev.tsv", {}, 500),
        ("chnsenticorp/dev.tsv", {}, 1160),
    ],
)
def test_the_benchmarks_files(shared, name, settings, rows):
    examples = read_examples(str(shared / "data" / name), **settings)
    assert len(examples) == rows
    assert (examples[0].pair is not None) == (name.split("/")[0] in ("mrpc", "ocnli", "rte"))
    assert len(label_list(examples)) == {"ocnli": 3, "trec": 6}.get(name.split("/")[0], 2)


def test_sts_b(shared):
    rows = read_scored_examples(str(shared / "data/stsb-zh/dev.tsv"))
    assert (len(rows), rows[0].score) == (1358, 5.0)


def test_what_the_texts_of_xnli_are_called(tmp_path):
    path = write(tmp_path / "multinli.train.zh.tsv", "premise\thypo\tlabel\np\th\tneutral\n")
    assert plain(read_examples(path)) == [("p", "h", "neutral")]


def test_a_question_and_a_sentence_are_a_pair(tmp_path):
    """As QNLI has them; a sentence alone is a single text, and so is one that was asked for."""
    path = write(tmp_path / "qnli.tsv", "index\tquestion\tsentence\tlabel\n0\tq?\ts\tentailment\n")
    assert plain(read_examples(path)) == [("q?", "s", "entailment")]
    assert plain(read_examples(path, text_column="sentence")) == [("s", None, "entailment")]
    assert plain(read_examples(path, pair_column="")) == [("q?", None, "entailment")]
    path = write(tmp_path / "a.tsv", "question\tlabel\nq?\t1\n")
    with pytest.raises(InputError, match="none of the columns question, label .* for the text"):
        read_examples(path)


def test_which_columns_are_read_is_told(tmp_path, caplog):
    path = write(tmp_path / "a.tsv", "id\tsentence\tnote\tlabel\n7\ta\tx\t1\n")
    with caplog.at_level("INFO", logger="absl"):
        read_examples(path)
    assert caplog.messages == [f"{path}: columns read: text 'sentence', label 'label'; not read: id, note"]


@pytest.mark.parametrize(
    "name, content, texts",
    [
        ("a.tsv", "text\na\n\nb\n\n\n", ["a", "", "b"]),
        ("c.tsv", "text\na b\rc\nd\n", ["a b\rc", "d"]),
        ("w.tsv", "text\tid\r\na\rb\t1\r\n\r\nc\t2\r\n", ["a\rb", "c"]),
        ("c.csv", 'text\r\n"a\rb"\r\nc\r\n', ["a\rb", "c"]),
        ("c.jsonl", '{"text": "a"}\r\n\r\n{"text":\r"b"}\r\n', ["a", "b"]),
        ("a.csv", 'text\na\n""\n\nb\n""\n', ["a", "", "", "b", ""]),
        ("d.csv", "text\r\na\r\n\r\nb\r\n\r\n", ["a", "", "b"]),
        ("b.tsv", "text\tid\na\t1\n\nb\t2\n", ["a", "b"]),
        ("b.csv", 'text,id\na,1\n\n"",2\n', ["a", ""]),
    ],
)
def test_each_row_is_answered_in_its_place(tmp_path, name, content, texts):
    """Rows of an empty text, and of one with a carriage return in it, among them."""
    (tmp_path / name).write_bytes(content.encode())
    rows = read_examples(str(tmp_path / name), labelled=False)
    assert [row.text for row in rows] == texts


@pytest.mark.parametrize(
    "name, content, ids",
    [
        (
            "a.jsonl",
            '{"text": "x", "id": 5}\n{"text": "y", "id": 7}\n{"text": "z", "id": "09"}\n',
            [5, 7, "09"],
        ),
        ("a.tsv", "id\ttext\n5\tx\n7b\ty\n", [5, "7b"]),
        ("b.jsonl", '{"text": "x"}\n{"text": "y", "id": null}\n', None),
        ("b.csv", "id,text\n,x\n", None),
    ],
)
def test_the_ids_of_a_file(tmp_path, name, content, ids):
    assert row_ids(write(tmp_path / name, content)) == ids


def test_ids_of_some_rows_alone_and_without_a_header(tmp_path):
    for rows, line in [('{"id": 0}\n{"text": "y"}\n', 2), ('{"text": "x"}\n{"id": 0}\n', 1)]:
        with pytest.raises(InputError, match=f"a.jsonl:{line}: has no 'id', which other rows have"):
            row_ids(write(tmp_path / "a.jsonl", rows))
    assert row_ids(write(tmp_path / "c.tsv", "5\tx\n"), ["id", "text"]) == [5]


def test_some_pairs_with_scores_and_some_without(tmp_path):
    rows = ['{"text": "a", "text_pair": "b"}', '{"text": "a", "text_pair": "b", "score": 4}']
    for order in (rows, rows[::-1]):
        path = write(tmp_path / "s.jsonl", "\n".join(order))
        line = 1 + order.index(rows[0])
        with pytest.raises(InputError, match=f"s.jsonl:{line}: has no score, .*s.jsonl:{3 - line} has one"):
            read_similar_texts(path)
        assert len(read_similar_texts(path, score_column="")) == 2
