"""Makes a SavedModel of a fine-tuned model, raw text in and answers out, as the next version of a folder.

The version appears only after a fresh process has loaded it the way TF Serving does and has given the
answers of the model. The last line on stdout is its path.

Example:
  python tf_scripts/export_model.py --model_dir=runs/mine --export_dir=saved_models/mine
"""

import os

from absl import flags, logging

from kbert import entry

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


def main():
    from kbert import checkpoints, inference
    from kbert.export import MaskFiller, add_attention, export, text_module

    task = checkpoints.read_spec(FLAGS.model_dir)["task"]
    if task is not None and task.get("name") == "pretraining":
        spec, tokenizer = inference.read_spec_and_tokenizer(FLAGS.model_dir)
        module = MaskFiller(spec, tokenizer, checkpoints.load(FLAGS.model_dir), FLAGS.max_length)
    else:
        answering = inference.pipeline(FLAGS.model_dir)
        module = text_module(answering.task, answering.model, FLAGS.max_length)
    if FLAGS.attention:
        add_attention(module)
    filters = [names.split(",") for names in FLAGS.warmup_filter]
    version = export(module, FLAGS.export_dir, warmup_filters=filters)
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
