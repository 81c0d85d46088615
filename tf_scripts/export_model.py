"""Makes a SavedModel of a fine-tuned model, raw text in and answers out, as the next version of a folder.

The version appears only after a fresh process has loaded it the way TF Serving does and has given the
answers of the model. The last line on stdout is its path. Exit code 1 says that it has not, and why.

Example:
  python tf_scripts/export_model.py --model_dir=runs/mine --export_dir=saved_models/mine
  python tf_scripts/export_model.py --model_dir=runs/mine --export_dir=saved_models/small \
      --precision=int8 --calibration_data=train.tsv
"""

import os
import sys

from absl import flags, logging

from kbert import entry
from kbert.errors import InputError
from kbert.whole_files import check_local

FLAGS = flags.FLAGS
flags.DEFINE_string("model_dir", None, "Folder made by finetune.py, or by pretrain.py.", required=True)
flags.DEFINE_string("export_dir", None, "Folder of versions; the next integer is added to it.", required=True)
flags.DEFINE_integer(
    "max_length", None, "Longest sequence in pieces; default: as in training.", lower_bound=5
)
flags.DEFINE_multi_string(
    "warmup_filter",
    [],
    "Outputs that clients ask for alone over gRPC, such as label,score; repeat for each kind of client.",
)
flags.DEFINE_boolean(
    "attention", False, "Adds the signature `attention`: which piece looks at which, for the server's page."
)
flags.DEFINE_enum(
    "precision", "float32", ["float32", "bfloat16", "int8"],
    "Of the matrix products. bfloat16 pays with AMX or on AMD's with AVX512-BF16, int8 with VNNI or AMX.",
)  # fmt: skip
flags.DEFINE_string("calibration_data", None, "For int8: labelled rows, such as the training file.")
flags.DEFINE_string("text_column", None, "Its column of the text; default: a customary name.")
flags.DEFINE_string("pair_column", None, "Its column of the second text; default: a customary name.")
flags.DEFINE_string("label_column", None, "Its column of the label; default: a customary name.")
flags.DEFINE_list("columns", None, "Names of all its columns, for a TSV or CSV file without a header line.")


def check_flags():
    if FLAGS.precision == "int8" and not FLAGS.calibration_data:
        raise InputError(
            "--precision=int8 needs --calibration_data=FILE, rows like those to come: the training file, say"
        )
    if FLAGS.precision != "int8" and FLAGS.calibration_data:
        raise InputError(f"--calibration_data is for --precision=int8, not for {FLAGS.precision}")
    for name in ("text_column", "pair_column", "label_column", "columns"):
        if FLAGS[name].value is not None and not FLAGS.calibration_data:
            raise InputError(f"--{name} is of --calibration_data, which is not given; leave it out")


def fine_tuned_module():
    from kbert import inference
    from kbert.export import text_module

    answering = inference.pipeline(FLAGS.model_dir)
    task, model = answering.task, answering.model
    if FLAGS.precision == "int8":
        from kbert.quantization import quantized
        from kbert.tasks import Columns

        columns = Columns(
            text=FLAGS.text_column,
            pair=FLAGS.pair_column,
            label=FLAGS.label_column,
            names=FLAGS.columns and tuple(FLAGS.columns),
            **task.kept_columns,
        )
        model, _ = quantized(task, model, task.read(FLAGS.calibration_data, columns))
        return text_module(task, model, FLAGS.max_length)
    return text_module(task, model, FLAGS.max_length, FLAGS.precision)


def main():
    check_flags()
    from kbert import checkpoints, inference
    from kbert.export import MaskFiller, SelfTestError, add_attention, export

    check_local(FLAGS.export_dir)
    task = checkpoints.read_spec(FLAGS.model_dir)["task"]
    if task is not None and task.get("name") == "pretraining":
        if FLAGS.precision != "float32":
            raise InputError(f"--precision={FLAGS.precision} is for fine-tuned models; leave it out")
        spec, tokenizer = inference.read_spec_and_tokenizer(FLAGS.model_dir)
        module = MaskFiller(spec, tokenizer, checkpoints.load(FLAGS.model_dir), FLAGS.max_length)
    else:
        module = fine_tuned_module()
    if FLAGS.attention:
        add_attention(module)
    filters = [names.split(",") for names in FLAGS.warmup_filter]
    try:
        version = export(module, FLAGS.export_dir, warmup_filters=filters)
    except SelfTestError as error:
        sys.stderr.write(f"error: {FLAGS.export_dir}: {' '.join(str(error).split())}\n")
        sys.exit(1)
    base = os.path.dirname(version)
    name = os.path.basename(base)
    logging.info(
        "%s is ready. Serve it with\n"
        "  python tf_scripts/serve.py --model=%s\n"
        "or, where TF Serving is installed, with\n"
        "  tensorflow_model_server --rest_api_port=8501 --model_name=%s --model_base_path=%s",
        version,
        base,
        name,
        base,
    )
    print(version)


if __name__ == "__main__":
    entry.run(main)
