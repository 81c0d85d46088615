"""Measures a fine-tuned model on a labelled file; the last line on stdout is one JSON object of metrics.

Example:
  python tf_scripts/evaluate.py --model_dir=runs/mine --data=dev.tsv --output_dir=runs/mine/dev
"""

import json
from pathlib import Path

from absl import flags, logging

from kbert import entry

FLAGS = flags.FLAGS
flags.DEFINE_string("model_dir", None, "Folder made by finetune.py.", required=True)
flags.DEFINE_string("data", None, "Labelled file (.tsv, .csv, .jsonl) or tfds:NAME.", required=True)
flags.DEFINE_string("split", "validation", "Split of a tfds: data set.")
flags.DEFINE_string("text_column", None, "Column of the text; default: a customary name, such as sentence.")
flags.DEFINE_string(
    "pair_column", None, "Column of the second text; default: a customary name, for models of pairs."
)
flags.DEFINE_string("label_column", None, "Column of the label; default: a customary name, such as label.")
flags.DEFINE_string("output_dir", None, "Folder for predictions.jsonl and metrics.json.", required=True)
flags.DEFINE_integer("batch_size", 32, "Texts at a time.", lower_bound=1)


def main():
    import numpy as np

    from kbert import data, inference
    from kbert.evaluation import classification_scores, decode_labels

    classifier = inference.pipeline(FLAGS.model_dir)
    task = classifier.task
    examples = data.read_examples(
        FLAGS.data,
        split=FLAGS.split,
        text_column=FLAGS.text_column,
        pair_column=FLAGS.pair_column if task["pair"] else "",
        label_column=FLAGS.label_column,
    )
    encoded = classifier.encode(examples, task["labels"])
    logits = inference.predict_logits(classifier.model, encoded, FLAGS.batch_size)
    scores = classification_scores(encoded.labels, np.argmax(logits, -1), len(task["labels"]))
    metrics = {**scores, "examples": len(examples), "truncated": encoded.num_truncated}

    output = Path(FLAGS.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    with open(output / "predictions.jsonl", "w", encoding="utf-8") as file:
        for example, answer in zip(examples, decode_labels(logits, task["labels"]), strict=True):
            pair = {} if example.pair is None else {"text_pair": example.pair}
            row = {"source": example.source, "text": example.text, **pair, "gold": example.label, **answer}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    (output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    logging.info("%d predictions in %s", len(examples), output / "predictions.jsonl")
    print(json.dumps(metrics))


if __name__ == "__main__":
    entry.run(main)
