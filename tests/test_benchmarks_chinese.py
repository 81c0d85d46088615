"""benchmarks/chinese_corpus.py: which texts get into the corpus, and what makes a document."""

import json

#: Part -> its file, with one row; each text says what it is.
FILES = {
    "corpora/zh.train.txt": "甲文一。\n甲文二。\n\n乙文。\n",
    "chnsenticorp/train.tsv": "label\ttext_a\n1\t好。 很好！\n0\t差\n",
    "ocnli/train.jsonl": "".join(
        json.dumps({"sentence1": premise, "sentence2": other, "label": "neutral"}) + "\n"
        for premise, other in (("前提", "其一"), ("别的", "其三"), ("前提", "其二"))
    ),
    "peoples-daily-ner/train.txt": "北 B-LOC\n京 I-LOC\n\n人 O\n民 O\n",
    "cmrc2018/train.json": [("段落一。段落二。", "问甲？"), ("段落一。段落二。", "问乙？")],
    "drcd/train.json": [("臺灣。", "何處？")],
}


def squad(rows):
    """A file of questions and answers in SQuAD's form."""
    paragraphs = [
        {
            "context": context,
            "qas": [{"id": question, "question": question, "answers": [{"text": "", "answer_start": 0}]}],
        }
        for context, question in rows
    ]
    return json.dumps({"version": "1", "data": [{"title": "", "paragraphs": paragraphs}]})


def write_data(folder):
    """The files of all parts."""
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else squad(content), encoding="utf-8")


def test_documents_are_what_belongs_together_and_answers_stay_out(load_benchmark, tmp_path, capsys):
    write_data(tmp_path)
    corpus = load_benchmark("chinese_corpus")
    corpus.FLAGS(["chinese_corpus", f"--data={tmp_path}", f"--output={tmp_path}/corpus.txt"])
    corpus.main()
    written = (tmp_path / "corpus.txt").read_text(encoding="utf-8")
    assert written.split("\n\n") == [
        "甲文一。\n甲文二。",
        "乙文。",
        "好。\n很好！",
        "差",
        "前提\n其一\n其二",
        "别的\n其三",
        "北京",
        "人民",
        "问甲？\n问乙？\n段落一。\n段落二。",
        "何處？\n臺灣。",
        "",
    ]
    assert "newspaper: 2 documents, 4 characters" in capsys.readouterr().out
