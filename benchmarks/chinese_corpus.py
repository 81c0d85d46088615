"""What chinese.py's encoder is pretrained on: an encyclopedia, and texts of the tasks without their answers.

A model of one's own domain is best pretrained on that domain's texts, and those of the labelled rows are at
hand (Gururangan et al., 2020, "Don't Stop Pretraining", section 4). Only rows of train are read. What belongs
together is a document, so that --next_sentence has something to tell: a review; a premise with what is
said of it; the questions on a passage, then the passage.

  python benchmarks/chinese_corpus.py --data=../shared/data --output=corpus.txt
"""

import pathlib

from absl import flags

from kbert import entry
from kbert.data import read_conll, read_examples, read_questions
from kbert.text.sentences import split_sentences

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "Folder of the data sets.", required=True)
flags.DEFINE_string("output", None, "File to write, as build_pretraining_data.py reads it.", required=True)


def encyclopedia():
    """Articles, whose sentences are lines already."""
    text = pathlib.Path(FLAGS.data, "corpora/zh.train.txt").read_text(encoding="utf-8")
    return [article.splitlines() for article in text.split("\n\n")]


def reviews():
    """Each of ChnSentiCorp."""
    rows = read_examples(f"{FLAGS.data}/chnsenticorp/train.tsv", text_column="text_a")
    return [split_sentences(row.text) for row in rows]


def premises():
    """Each of OCNLI, with what is said of it."""
    documents = {}
    for row in read_examples(f"{FLAGS.data}/ocnli/train.jsonl"):
        documents.setdefault(row.text, [row.text]).append(row.pair)
    return list(documents.values())


def newspaper():
    """Sentences of the People's Daily, in an order that says nothing."""
    return [[row.text] for row in read_conll(f"{FLAGS.data}/peoples-daily-ner/train.txt")]


def passages(name):
    """Those of CMRC 2018 or of DRCD, after what is asked of them."""
    asked = {}
    for row in read_questions(f"{FLAGS.data}/{name}/train.json"):
        asked.setdefault(row.context, []).append(row.question)
    return [questions + split_sentences(context) for context, questions in asked.items()]


def main():
    """Writes the corpus and tells what each part comes to."""
    parts = {
        "encyclopedia": encyclopedia(),
        "reviews": reviews(),
        "premises": premises(),
        "newspaper": newspaper(),
        "CMRC 2018": passages("cmrc2018"),
        "DRCD": passages("drcd"),
    }
    with open(FLAGS.output, "w", encoding="utf-8") as file:
        for name, documents in parts.items():
            # No text of a task may break its line, or end its document.
            lines = [[" ".join(line.split()) for line in document if line.strip()] for document in documents]
            file.writelines("\n".join(document) + "\n\n" for document in lines if document)
            characters = sum(len(line) for document in lines for line in document)
            print(f"{name}: {len(lines)} documents, {characters} characters")


if __name__ == "__main__":
    entry.run(main)
