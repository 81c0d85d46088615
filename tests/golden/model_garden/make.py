r"""Made the checkpoints and outputs in this folder, with tf-models-official 2.20.0 on TensorFlow 2.21.

    pip install --no-deps tf-models-official==2.20.0 tf_keras gin-config tf_slim sentencepiece \
        tensorflow-model-optimization
    python tests/golden/model_garden/make.py
"""

import json
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
SIZES = {
    "vocab_size": 20,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 10,
    "type_vocab_size": 3,
    "initializer_range": 0.02,
}
INPUTS = {
    "input_word_ids": np.array([[2, 5, 6, 3, 0, 0], [2, 7, 8, 9, 10, 3]], np.int32),
    "input_mask": np.array([[1, 0, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]], np.int32),
    "input_type_ids": np.array([[0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 2]], np.int32),
}
POSITIONS = np.array([[1, 2], [3, 4]], np.int32)


def main():
    # Not at the top: the test run looks for examples in this file, too.
    from official.modeling import tf_utils
    from official.nlp.modeling import layers, models, networks

    arguments = {
        "vocab_size": SIZES["vocab_size"],
        "hidden_size": SIZES["hidden_size"],
        "num_layers": 2,
        "num_attention_heads": SIZES["num_attention_heads"],
        "max_sequence_length": SIZES["max_position_embeddings"],
        "type_vocab_size": SIZES["type_vocab_size"],
        "inner_dim": SIZES["intermediate_size"],
        "inner_activation": tf_utils.get_activation("gelu"),
    }
    encoder = networks.BertEncoder(**arguments, dict_outputs=True)
    pretrainer = models.BertPretrainerV2(
        encoder_network=networks.BertEncoderV2(**arguments),
        mlm_activation=tf_utils.get_activation("gelu"),
        classification_heads=[layers.ClassificationHead(8, 2, dropout_rate=0.0, name="next_sentence")],
    )
    write_encoder(encoder)
    write_pretrainer(pretrainer)


def write_encoder(encoder):
    """As the released checkpoints are: the encoder alone, its layers by their numbers."""
    import tensorflow as tf

    shuffle(encoder.variables, seed=1)
    outputs = encoder(INPUTS)
    folder = FOLDER / "encoder"
    folder.mkdir(exist_ok=True)
    tf.train.Checkpoint(encoder=encoder).write(str(folder / "bert_model.ckpt"))
    config = {
        **SIZES,
        "num_hidden_layers": 2,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
    }
    (folder / "bert_config.json").write_text(json.dumps(config, indent=2) + "\n")
    names = ("sequence_output", "pooled_output")
    np.savez(folder / "outputs.npz", **{name: outputs[name].numpy() for name in names})


def write_pretrainer(pretrainer):
    """As training leaves them: model, optimizer and counters, the parts by the names of attributes."""
    import tensorflow as tf
    import tf_keras

    inputs = {**INPUTS, "masked_lm_positions": POSITIONS}
    pretrainer(inputs)
    shuffle(pretrainer.variables, seed=2)
    optimizer = tf_keras.optimizers.Adam(0.001)
    with tf.GradientTape() as tape:
        outputs = pretrainer(inputs)
        loss = tf.reduce_sum(outputs["mlm_logits"][..., 0]) + tf.reduce_sum(outputs["next_sentence"][:, 0])
    weights = pretrainer.trainable_variables
    pairs = zip(tape.gradient(loss, weights), weights, strict=True)
    optimizer.apply_gradients([pair for pair in pairs if pair[0] is not None])

    outputs = pretrainer(inputs)
    folder = FOLDER / "pretrainer"
    folder.mkdir(exist_ok=True)
    tf.train.Checkpoint(
        model=pretrainer, optimizer=optimizer, global_step=tf.Variable(1), **pretrainer.checkpoint_items
    ).save(str(folder / "ckpt"))
    write_params(folder / "params.yaml")
    names = ("sequence_output", "mlm_logits", "next_sentence")
    np.savez(folder / "outputs.npz", **{name: outputs[name].numpy() for name in names})


def write_params(path):
    from official.core import config_definitions
    from official.modeling import hyperparams
    from official.nlp.configs import bert, encoders

    names = {"num_attention_heads", "hidden_size", "vocab_size", "intermediate_size"}
    names |= {"max_position_embeddings", "type_vocab_size"}
    of_encoder = encoders.BertEncoderConfig(num_layers=2, **{name: SIZES[name] for name in names})
    model = bert.PretrainerConfig(encoder=encoders.EncoderConfig(type="bert_v2", bert_v2=of_encoder))
    task = config_definitions.TaskConfig()
    task.override({"model": model.as_dict()}, is_strict=False)
    hyperparams.save_params_dict_to_yaml(config_definitions.ExperimentConfig(task=task), str(path))


def shuffle(variables, seed):
    generator = np.random.default_rng(seed)
    for variable in variables:
        variable.assign(generator.normal(size=variable.shape, scale=0.4).astype("float32"))


if __name__ == "__main__":
    main()
