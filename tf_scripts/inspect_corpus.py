r"""Says what is in a pretraining corpus, and warns of what would ruin a run, before hours are spent on it.

    python tf_scripts/inspect_corpus.py --input='corpus/*.txt' --vocab=vocab.txt --output_dir=report

The table is on stdout; report.json has all its figures. lengths.png is a picture of the lengths, drawn if
matplotlib is installed (`pip install '.[plots]' in the source folder`).
"""

import importlib.util
import json
import time
from pathlib import Path

from absl import flags, logging

from kbert import entry
from kbert.whole_files import check_writable

FLAGS = flags.FLAGS
flags.DEFINE_list(
    "input", None, "Text files, plain or gzip, or JSON lines; or globs; comma-separated.", required=True
)
flags.DEFINE_string("vocab", None, "vocab.txt of the model.", required=True)
flags.DEFINE_bool("lowercase", None, "Lower-case and strip accents; default: what the vocabulary looks like.")
flags.DEFINE_integer("max_length", 128, "Most pieces of [CLS] A [SEP] B [SEP].", lower_bound=8)
flags.DEFINE_string("text_field", "text", "Of JSON lines: where the text is.")
flags.DEFINE_string("output_dir", None, "Folder for report.json and lengths.png.", required=True)


def main():
    started = time.monotonic()
    output = Path(FLAGS.output_dir)
    check_writable(output)
    from kbert.checkpoints.vocabulary import settle_case
    from kbert.data.corpus import expand_files
    from kbert.data.corpus_inspection import inspect_corpus
    from kbert.data.length_histogram import draw_histograms
    from kbert.data.line_stream import stream_lines
    from kbert.text import Vocab, WordPieceTokenizer

    files = expand_files(FLAGS.input)
    lowercase = settle_case(FLAGS.vocab, Vocab.read(FLAGS.vocab).tokens, FLAGS.lowercase)
    report = inspect_corpus(
        stream_lines(files, strict=False, text_field=FLAGS.text_field),
        WordPieceTokenizer(FLAGS.vocab, lowercase=lowercase),
        max_length=FLAGS.max_length,
    )
    output.mkdir(parents=True, exist_ok=True)
    figures = {"files": [str(file) for file in files], "lowercase": lowercase, **report.to_dict()}
    (output / "report.json").write_text(
        json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    if importlib.util.find_spec("matplotlib"):
        lengths = {"sentences": report.sentence_lengths, "documents": report.document_lengths}
        draw_histograms(output / "lengths.png", lengths, FLAGS.max_length)
    else:
        logging.info("No lengths.png: pip install '.[plots]' in the source folder brings matplotlib")
    print(f"{'files':<20} {len(files):,}\n{report.table()}")
    for warning in report.warnings():
        print(f"WARNING: {warning}")
    logging.info("Wrote %s after %.0f s", output, time.monotonic() - started)


if __name__ == "__main__":
    entry.run(main)
