"""Pretraining joined together: batches of every layout, resumed and measured, and models to go on from."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from kbert import checkpoints, data, training
from kbert.config import BertConfig
from kbert.data import token_counts, write_records
from kbert.data.record_settings import RecordSettings
from kbert.errors import InputError
from kbert.models import Bert, BertPretrainer
from kbert.pretraining import _check_same_form, _round_steps, figures_of_kept, pretrain, steps_of_phases
from kbert.pretraining_records import Records
from kbert.pretraining_start import (
    MARKS,
    may_differ,
    settings_of_start,
    start_at_frequencies,
    starting_model,
    warn_of_other_case,
)
from kbert.text import Vocab


@pytest.fixture
def folder(corpus, tmp_path, tiny_vocab):
    settings = RecordSettings(vocab=str(tiny_vocab), max_length=24, shards=2)
    write_records([corpus], tmp_path / "records", settings)
    return tmp_path / "records"


@pytest.fixture
def config(tiny_config, tiny_vocab):
    return tiny_config.replace(vocab_size=len(Vocab.read(tiny_vocab)))


def model_of(config):
    keras.utils.set_random_seed(1)
    model = BertPretrainer(config)
    model.build()
    return model


def listed(dataset, count):
    return [tf.nest.map_structure(np.asarray, batch) for batch in dataset.take(count).as_numpy_iterator()]


@pytest.mark.slow
def test_the_held_out_records_are_the_same_in_all_runs(folder, tiny_vocab, monkeypatch):
    """However many there are, and whatever the seed of the run, from which TensorFlow makes its orders."""

    def measured(seed):
        keras.utils.set_random_seed(seed)
        batches = Records(folder, Vocab.read(tiny_vocab), 4).held_out_batches().as_numpy_iterator()
        found = [(inputs["record_number"], targets["mask_ids"]) for inputs, targets in batches]
        return {n: ids.tolist() for numbers, masks in found for n, ids in zip(numbers, masks, strict=True)}

    total = len(measured(1))
    monkeypatch.setattr("kbert.pretraining_records._HELD_OUT_MOST", total // 2)
    one, other = measured(1), measured(2)
    assert len(one) == total // 2 and one == other
    assert max(one) >= total - 2 and min(one) == 0  # Not those of the first file alone.


@pytest.mark.slow_after_first
@pytest.mark.parametrize("layout, row_length", [("pools", None), ("padded", None), ("packed", 60)])
def test_a_stream_can_be_entered_anywhere_and_holds_every_record_once(folder, tiny_vocab, layout, row_length):
    records = Records(folder, Vocab.read(tiny_vocab), 4, layout=layout, row_length=row_length)
    batches = records.training_batches(seed=3)
    whole, rest = listed(batches(0), 12), listed(batches(5), 7)
    for one, other in zip(whole[5:], rest, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)
    inputs, targets = whole[0]
    real = inputs["padding_mask"].sum()
    if layout == "packed":
        assert inputs["part_ids"].max() > 1 and targets["next_sentence_weight"].sum() > 4
        named = inputs["record_number"] >= 0
        np.testing.assert_array_equal(named, targets["next_sentence_weight"] > 0)
        assert real / inputs["padding_mask"].size > 0.8
    else:
        assert targets["next_sentence_label"].shape == (4,)
    assert 0.1 < targets["mask_weights"].sum() / real < 0.3


def test_records_of_earlier_pools_are_not_read_again(folder, tiny_vocab, monkeypatch):
    """Else a run that goes on late would mask millions of them first."""
    monkeypatch.setattr("kbert.data.pipelines.POOL_BATCHES", 3)
    monkeypatch.setattr("kbert.data.POOL_BATCHES", 3)
    real, firsts = data.masked_records, []

    def spied(*options, first=0):
        firsts.append(first)
        return real(*options, first=first)

    monkeypatch.setattr("kbert.data.masked_records", spied)
    batches = Records(folder, Vocab.read(tiny_vocab), 4).training_batches(seed=3)
    whole, rest = listed(batches(0), 12), listed(batches(8), 4)
    for one, other in zip(whole[8:], rest, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)
    assert firsts == [0, 2 * 3 * 4]


def test_a_layout_that_cannot_be_made_is_refused_at_once(folder, corpus, tiny_vocab, tmp_path, caplog):
    vocab = Vocab.read(tiny_vocab)
    with pytest.raises(InputError, match="up to 24 pieces do not fit into rows of --row_length=10"):
        Records(folder, vocab, 4, layout="packed", row_length=10)
    with pytest.raises(InputError, match="--row_length=30 is of packed rows; set --layout=packed"):
        Records(folder, vocab, 4, row_length=30)
    settings = RecordSettings(vocab=str(tiny_vocab), max_length=24, shards=1, static_masking="google")
    write_records([corpus], tmp_path / "masked", settings)
    with pytest.raises(InputError, match="masked: records that hold their masks cannot be packed"):
        Records(tmp_path / "masked", vocab, 4, layout="packed")
    with caplog.at_level(logging.WARNING, logger="absl"):
        Records(tmp_path / "masked", vocab, 4, mask_rate=0.4)
    assert "masked: holds its masks" in caplog.text


def test_a_run_is_measured_about_ten_times(caplog):
    rounds = {steps: steps // _round_steps(steps, None, True) for steps in (10, 1000, 8, 27, 121, 22)}
    assert rounds == {10: 10, 1000: 10, 8: 8, 27: 9, 121: 11, 22: 11}
    assert not caplog.records
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert _round_steps(31247, None, True) == 31247
    assert "31247 steps are measured 1 time(s)" in caplog.text
    assert _round_steps(1000, None, False) == 1000


def test_both_phases_have_steps():
    assert steps_of_phases(1000, None) == (900, 100) and steps_of_phases(5, None) == (4, 1)
    assert steps_of_phases(1000, 999) == (1, 999)
    for steps, second in ((1000, 1000), (1000, 2000), (1, None)):
        with pytest.raises(InputError, match=f"of --steps={steps}, which counts both phases"):
            steps_of_phases(steps, second)


def test_the_figures_of_a_run_are_those_of_the_weights_it_keeps():
    history = [{"loss": 3.0, "val_mlm_loss": value} for value in (2.0, 1.5, 1.5, 1.8)]
    assert figures_of_kept(history, averaged=False) is history[1]
    assert figures_of_kept(history, averaged=True) is history[3]
    assert figures_of_kept([{"loss": 3.0}], averaged=False) == {"loss": 3.0}


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["pools", "packed"])
def test_a_run_learns_measures_and_goes_on_where_it_stopped(folder, tiny_vocab, config, tmp_path, layout):
    vocab = Vocab.read(tiny_vocab)

    def run(name, steps, **options):
        model = model_of(config)
        history = pretrain(
            model,
            training.AdamW(training.LinearWarmup(1e-3, 60, 6)),
            [(Records(folder, vocab, 8, layout=layout), steps)],
            held_out=Records(folder, vocab, 8),
            model_dir=tmp_path / name,
            eval_every=20,
            seed=5,
            checkpoints=training.Checkpoints(tmp_path / name / "checkpoints", 20),
            **options,
        )
        return model, history

    model, history = run("whole", 60)
    assert [round(logs["val_mlm_loss"], 9) for logs in history] == sorted(
        (round(logs["val_mlm_loss"], 9) for logs in history), reverse=True
    )
    assert history[-1]["mlm_loss"] < history[0]["mlm_loss"] - 0.3
    run("parts", 20)
    again, repeated = run("parts", 60)
    assert repeated == history
    for one, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    assert len((tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()) == 6


@pytest.mark.slow
def test_the_second_phase_takes_the_longer_records(folder, tiny_vocab, config, tmp_path):
    settings = RecordSettings(vocab=str(tiny_vocab), max_length=40, shards=1)
    write_records([tmp_path / "corpus.txt"], tmp_path / "long", settings)
    vocab = Vocab.read(tiny_vocab)
    phases = [(Records(folder, vocab, 8), 4), (Records(tmp_path / "long", vocab, 4), 2)]
    widths = []
    batches = training.in_phases(*((records.training_batches(1), steps) for records, steps in phases))
    for inputs, _ in batches(0):
        widths.append(inputs["token_ids"].shape)
    assert [rows for rows, _ in widths] == [8] * 4 + [4] * 2 and max(width for _, width in widths[4:]) > 24
    history = pretrain(model_of(config), training.AdamW(1e-3), phases, model_dir=tmp_path / "m", seed=1)
    assert len(history) == 1 and np.isfinite(history[0]["loss"])


@pytest.mark.slow
def test_records_without_pairs_train_the_masks_alone(tiny_vocab, config, tmp_path, folder):
    settings = RecordSettings(vocab=str(tiny_vocab), max_length=24, shards=1, next_sentence="none")
    write_records([tmp_path / "corpus.txt"], tmp_path / "plain", settings)
    vocab = Vocab.read(tiny_vocab)
    history = pretrain(
        model_of(config),
        training.AdamW(1e-3, average_decay=0.5),
        [(Records(tmp_path / "plain", vocab, 8), 4)],
        held_out=Records(tmp_path / "plain", vocab, 8),
        eval_every=2,
        model_dir=tmp_path / "m",
        seed=1,
    )
    assert {"mlm_loss", "val_mlm_accuracy"} < set(history[0]) and "nsp_loss" not in history[0]
    assert np.isfinite(history[-1]["val_mlm_loss"])


@pytest.mark.slow
def test_records_of_another_task_are_refused(folder, corpus, tiny_vocab, config, tmp_path):
    """In whichever phase they come, and to measure on."""
    settings = RecordSettings(vocab=str(tiny_vocab), max_length=24, shards=1, next_sentence="sop")
    write_records([corpus], tmp_path / "sop", settings)
    vocab = Vocab.read(tiny_vocab)
    pairs, order = Records(folder, vocab, 8), Records(tmp_path / "sop", vocab, 8)
    for phases, held_out in (([(pairs, 2), (order, 1)], None), ([(pairs, 3)], order)):
        with pytest.raises(
            InputError, match="sop: records with --next_sentence=sop, but those of .* have nsp"
        ):
            pretrain(
                model_of(config), training.AdamW(1e-3), phases, held_out=held_out, model_dir=tmp_path, seed=1
            )


@pytest.mark.slow
def test_a_run_does_not_go_on_with_other_records(folder, corpus, tiny_vocab, config, tmp_path):
    """They may have moved; here the same path holds records of another seed."""
    vocab = Vocab.read(tiny_vocab)

    def write(name, seed):
        settings = RecordSettings(vocab=str(tiny_vocab), max_length=24, shards=1, seed=seed)
        write_records([corpus], tmp_path / name, settings)

    def run():
        second, held_out = (Records(tmp_path / name, vocab, 8) for name in ("phase 2", "held-out"))
        pretrain(
            model_of(config), training.AdamW(1e-3), [(Records(folder, vocab, 8), 2), (second, 2)],
            held_out=held_out, eval_every=4, model_dir=tmp_path / "m", seed=1,
            checkpoints=training.Checkpoints(tmp_path / "m" / "checkpoints", 4),
        )  # fmt: skip

    write("phase 2", 1)
    write("held-out", 1)
    run()
    write("held-out", 2)
    with pytest.raises(InputError, match="with held-out records=.*cannot go on"):
        run()
    write("held-out", 1)
    write("phase 2", 2)
    with pytest.raises(InputError, match="with records of phase 2=.*cannot go on"):
        run()


def test_a_run_goes_on_from_the_model_it_began_with_alone(config, tmp_path, caplog):
    """Whatever --init and --config are called, and whatever --precision=auto means here."""
    variables = [keras.Variable([1.0])]
    model, other = model_of(config), model_of(config.replace(dropout=0.2))
    half = BertPretrainer(config, dtype="mixed_bfloat16")
    half.build()

    def noted(init, model, parts=1):
        settings = settings_of_start(model, init, parts)
        return training.Checkpoints(
            tmp_path / str(init), settings=settings, may_differ=may_differ, marks=MARKS
        )

    for init in (None, "folder"):
        noted(init, model).save(1, variables, {"step": 1})
        assert noted(init, model).restore(variables) == {"step": 1}
        with pytest.raises(InputError, match=r"run with model.dropout=0.1, which cannot go on with 0.2;"):
            noted(init, other).restore(variables)
        with pytest.raises(InputError, match="precision='float32', which cannot go on with 'bfloat16';"):
            noted(init, half).restore(variables)
    model.mlm.bias.assign(np.ones(config.vocab_size))
    with pytest.raises(InputError, match="holds a run with another start .--init, .*; start it as before"):
        noted("folder", model).restore(variables)
    assert not caplog.messages
    # Random ones follow from the seed, and may have other last bits on another machine.
    assert noted(None, model, parts=2).restore(variables)
    assert "holds a run with parts=1, which goes on with 2; its numbers may not be" in caplog.text


def test_a_model_to_go_on_from_keeps_its_heads_and_gets_rows_for_new_words(tmp_path, tiny_vocab, config):
    old = model_of(config)
    checkpoints.save_folder(tmp_path / "old", old, vocab_path=tiny_vocab)
    same = starting_model(tiny_vocab, init=str(tmp_path / "old"))
    for one, other in zip(old.weights, same.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    larger = tmp_path / "larger.txt"
    larger.write_text(tiny_vocab.read_text(encoding="utf-8") + "goodness\n", encoding="utf-8")
    grown = starting_model(larger, init=str(tmp_path / "old"))
    assert grown.config.vocab_size == config.vocab_size + 1
    checkpoints.save_folder(tmp_path / "encoder", Bert(config))
    with pytest.raises(InputError, match="no vocabulary there"):
        starting_model(larger, init=str(tmp_path / "encoder"))


def test_what_cannot_be_is_refused(folder, tiny_vocab, config, tmp_path):
    vocab = Vocab.read(tiny_vocab)
    records = Records(folder, vocab, 4)
    with pytest.raises(InputError, match="20 steps"):
        pretrain(model_of(config), training.AdamW(1e-3), [(records, 15)], held_out=records, eval_every=10,
                 model_dir=tmp_path, seed=1)  # fmt: skip
    with pytest.raises(InputError, match="patience"):
        pretrain(
            model_of(config), training.AdamW(1e-3), [(records, 10)], patience=1, model_dir=tmp_path, seed=1
        )
    with pytest.raises(InputError, match="patience=2, but 4 steps are measured 2 times in all"):
        pretrain(model_of(config), training.AdamW(1e-3), [(records, 4)], held_out=records, eval_every=2,
                 patience=2, model_dir=tmp_path, seed=1)  # fmt: skip
    other = tmp_path / "other.txt"
    other.write_text(tiny_vocab.read_text(encoding="utf-8") + "new\n", encoding="utf-8")
    with pytest.raises(InputError, match="another vocabulary"):
        records.check(other, config)
    with pytest.raises(InputError, match="--max_length=20"):
        records.check(tiny_vocab, config.replace(max_length=20))
    with pytest.raises(InputError, match="two segments .nsp., .* num_segments=1 .*--next_sentence=none"):
        records.check(tiny_vocab, config.replace(num_segments=1))


def test_sizes_by_name_or_file_start_from_random_weights(tiny_vocab, tmp_path):
    model = starting_model(tiny_vocab, size="tiny")
    assert model.config == BertConfig.preset("tiny", vocab_size=len(Vocab.read(tiny_vocab)))


def test_new_weights_begin_with_the_frequencies_of_the_tokens(folder, tiny_vocab):
    vocab = Vocab.read(tiny_vocab)
    # A table with more rows than the vocabulary has entries, as that of some checkpoints.
    model = model_of(BertConfig.preset("tiny", vocab_size=len(vocab) + 3))
    start_at_frequencies(model, folder, vocab)
    probabilities = np.exp(np.asarray(model.mlm.bias, "float64"))
    counts = token_counts(folder, (vocab.pad_id, vocab.cls_id, vocab.sep_id, vocab.mask_id))
    shares = (counts + 0.5) / (counts + 0.5).sum()
    np.testing.assert_allclose(probabilities[: len(vocab)], shares, rtol=1e-5)
    np.testing.assert_allclose(probabilities[len(vocab) :], shares.min(), rtol=1e-5)
    assert probabilities.argmax() == counts.argmax() and counts[vocab.cls_id] == 0 < counts.max()


def test_records_of_another_case_are_refused_and_a_checkpoint_s_is_told(
    folder, corpus, tiny_vocab, config, tmp_path, caplog
):
    vocab = Vocab.read(tiny_vocab)
    settings = RecordSettings(vocab=str(tiny_vocab), max_length=24, shards=1, lowercase=False)
    write_records([corpus], tmp_path / "cased", settings)
    lowered, cased = Records(folder, vocab, 4), Records(tmp_path / "cased", vocab, 4)
    with pytest.raises(InputError, match="cased: records with --lowercase=False, but .*=True$"):
        _check_same_form([lowered, cased])
    for name, task in (("lower", {"lowercase": True}), ("unsaid", None)):
        checkpoints.save_folder(tmp_path / name, Bert(config), task)
        for records in ("records", "cased"):
            warn_of_other_case(str(tmp_path / name), tmp_path / records)
    warn_of_other_case(None, tmp_path / "cased")
    told = [record.getMessage() for record in caplog.records if "was trained with" in record.getMessage()]
    assert len(told) == 1 and "cased: records with --lowercase=False" in told[0] and "/lower was" in told[0]


def test_a_head_that_came_with_a_checkpoint_keeps_its_bias(folder, tiny_vocab, config, tmp_path):
    """The new head of one that is an encoder alone begins with the frequencies."""
    vocab, learned = Vocab.read(tiny_vocab), model_of(config)
    learned.mlm.bias.assign(np.arange(config.vocab_size))
    checkpoints.save_folder(tmp_path / "whole", learned)
    checkpoints.save_folder(tmp_path / "encoder", learned.bert)
    biases = []
    for name in ("whole", "encoder"):
        model = starting_model(tiny_vocab, init=str(tmp_path / name))
        start_at_frequencies(model, folder, vocab)
        biases.append(np.asarray(model.mlm.bias))
    np.testing.assert_array_equal(biases[0], np.arange(config.vocab_size))
    assert np.exp(biases[1]).sum() == pytest.approx(1, rel=1e-4)
