"""Rows of several records: nothing lost, nothing mixed, nearly full; and the losses of its records."""

import numpy as np
import pytest
import tensorflow as tf

from kbert.data.row_packing import pack_rows
from kbert.errors import InputError
from kbert.models import BertPretrainer, PretrainingObjective
from tests.model_contract import randomised

P = 5  # masked tokens of a record at most
INTS = ("token_ids", "segment_ids", "mask_positions", "mask_ids")


def record(length, number):
    """A masked record that tells its number in all that it has; every real token is 1 or more."""
    rng = np.random.default_rng([length, number])
    count = min(P, max(1, round(0.15 * length)))
    positions = np.sort(rng.choice(np.arange(1, length), count, replace=False))
    padding = [0, P - count]
    return {
        "token_ids": rng.integers(1, 100, length).astype("int32"),
        "segment_ids": (np.arange(length) > length // 2).astype("int32"),
        "mask_positions": np.pad(positions, padding).astype("int32"),
        "mask_ids": np.pad(rng.integers(1, 100, count), padding).astype("int32"),
        "mask_weights": np.pad(np.ones(count), padding).astype("float32"),
        "next_sentence_label": np.int32(number % 2),
    }


def lengths_of(count, shortest=3, longest=30, seed=0):
    return np.random.default_rng(seed).integers(shortest, longest + 1, count)


def dataset_of(lengths):
    records = [record(length, number) for number, length in enumerate(lengths)]
    spec = {name: tf.TensorSpec([None], tf.int32) for name in INTS[:2]}
    spec |= {name: tf.TensorSpec([P], tf.int32) for name in INTS[2:]}
    spec |= {"mask_weights": tf.TensorSpec([P]), "next_sentence_label": tf.TensorSpec([], tf.int32)}
    return tf.data.Dataset.from_generator(lambda: iter(records), output_signature=spec), records


def unpacked(row):
    """The records of a row, as `record` gives them; asserts what must hold of all rows."""
    parts = row["part_ids"]
    real = parts > 0
    np.testing.assert_array_equal(row["padding_mask"], real)
    count = parts.max()
    weighted = row.get("next_sentence_weight", np.arange(len(row["first_positions"])) < count)
    assert weighted.tolist() == [1.0] * count + [0.0] * (len(weighted) - count)
    assert not any(row[name][~real].any() for name in ("token_ids", "segment_ids", "position_ids"))
    used = row["mask_weights"] > 0
    assert not row["mask_positions"][~used].any() and not row["mask_ids"][~used].any()
    assert (np.diff(row["mask_positions"][used]) > 0).all() and real[row["mask_positions"][used]].all()
    for part in range(1, count + 1):
        here = np.nonzero(parts == part)[0]
        first = row["first_positions"][part - 1]
        assert here[0] == first and (np.diff(here) == 1).all()
        np.testing.assert_array_equal(row["position_ids"][here], np.arange(len(here)))
        slots = used & np.isin(row["mask_positions"], here)
        padding = [0, P - slots.sum()]
        found = {
            "token_ids": row["token_ids"][here],
            "segment_ids": row["segment_ids"][here],
            "mask_positions": np.pad(row["mask_positions"][slots] - first, padding),
            "mask_ids": np.pad(row["mask_ids"][slots], padding),
            "mask_weights": np.pad(row["mask_weights"][slots], padding),
        }
        if "next_sentence_label" in row:
            found["next_sentence_label"] = row["next_sentence_label"][part - 1]
        yield found


def frozen(some_record):
    return tuple((name, tuple(np.ravel(value).tolist())) for name, value in sorted(some_record.items()))


@pytest.mark.slow_after_first
@pytest.mark.parametrize(
    "max_length, max_parts, slots, pool", [(30, 8, 9, 7), (64, 3, 20, 1000), (64, 8, 5, 40), (50, 1, 9, 1)]
)
def test_every_record_is_there_once_and_whole(max_length, max_parts, slots, pool):
    dataset, records = dataset_of(lengths_of(80))
    rows = pack_rows(dataset, max_length=max_length, slots=slots, max_parts=max_parts, pool=pool)
    assert rows.element_spec["token_ids"] == tf.TensorSpec([max_length], tf.int32)
    assert rows.element_spec["mask_weights"] == tf.TensorSpec([slots], tf.float32)
    assert rows.element_spec["first_positions"] == tf.TensorSpec([max_parts], tf.int32)
    found = [frozen(one) for row in rows.as_numpy_iterator() for one in unpacked(row)]
    assert sorted(found) == sorted(map(frozen, records)) and len(found) == 80


def first_fit(lengths, counts, limits):
    """The records of each row, by a plain loop; rows in the order of the records that opened them."""
    rows = []
    for number in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        need = np.array([lengths[number], counts[number], 1])
        for row in rows:
            if (row["used"] + need <= limits).all():
                break
        else:
            row = {"used": np.zeros(3, int), "records": []}
            rows.append(row)
        row["used"] += need
        row["records"].append(number)
    return sorted((row["records"] for row in rows), key=lambda records: records[0])


@pytest.mark.parametrize("limits", [(30, 9, 8), (64, 8, 8), (64, 20, 3)])
def test_rows_are_those_of_first_fit(limits):
    dataset, records = dataset_of(lengths_of(90, seed=1))
    max_length, slots, max_parts = limits
    rows = pack_rows(dataset, max_length=max_length, slots=slots, max_parts=max_parts, pool=40)
    numbers = {frozen(one): number for number, one in enumerate(records)}
    assert len(numbers) == 90
    found = [[numbers[frozen(one)] for one in unpacked(row)] for row in rows.as_numpy_iterator()]
    expected = []
    for start in (0, 40, 80):
        pool = records[start : start + 40]
        lengths = [len(one["token_ids"]) for one in pool]
        counts = [int(one["mask_weights"].sum()) for one in pool]
        expected += [[start + n for n in row] for row in first_fit(lengths, counts, limits)]
    assert found == expected


def test_rows_are_nearly_full_and_always_the_same():
    lengths = lengths_of(800, 5, 128, seed=2)
    dataset, _ = dataset_of(lengths)
    rows = pack_rows(dataset, max_length=256, slots=60, max_parts=12, pool=400)
    one, other = (list(rows.as_numpy_iterator()) for _ in range(2))
    assert np.sum([row["padding_mask"].sum() for row in one]) == lengths.sum()
    assert lengths.sum() / (256 * len(one)) > 0.98
    for name in one[0]:
        np.testing.assert_array_equal([row[name] for row in one], [row[name] for row in other])


def test_records_without_next_sentences():
    dataset, records = dataset_of(lengths_of(20))
    dataset = dataset.map(lambda one: {k: v for k, v in one.items() if k != "next_sentence_label"})
    rows = list(pack_rows(dataset, max_length=64, slots=20).as_numpy_iterator())
    assert not any(name.startswith("next_sentence") for name in rows[0])
    assert sum(len(list(unpacked(row))) for row in rows) == 20


def test_what_cannot_fit_is_named():
    dataset, _ = dataset_of([10, 20, 31])
    with pytest.raises(InputError, match="up to 5 masked tokens.*slots=4"):
        pack_rows(dataset, max_length=64, slots=4)
    with pytest.raises(InputError, match="max_parts=0"):
        pack_rows(dataset, max_length=64, slots=5, max_parts=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="longer than rows of max_length=30"):
        list(pack_rows(dataset, max_length=30, slots=5))


def test_a_packed_batch_has_the_losses_and_gradients_of_its_records(tiny_config):
    config = tiny_config.replace(dropout=0.0, attention_dropout=0.0, num_layers=1)
    model = randomised(BertPretrainer(config))
    dataset, _ = dataset_of(lengths_of(24))
    padded = dataset.map(lambda one: one | {"padding_mask": tf.ones_like(one["token_ids"])}).padded_batch(24)
    packed = pack_rows(dataset, max_length=40, slots=14).batch(24)
    results = []
    for batch in (next(iter(padded)), next(iter(packed))):
        with tf.GradientTape() as tape:
            pairs = PretrainingObjective()(model(batch, training=True), batch)
            loss = pairs["mlm_loss"][0] + pairs["nsp_loss"][0]
        gradients = tape.gradient(loss, [weight.value for weight in model.weights])
        results.append((pairs, [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]))
    assert batch["token_ids"].shape[0] < 20, "hardly anything was packed"
    (pairs, gradients), (packed_pairs, packed_gradients) = results
    assert pairs["nsp_loss"][1] == 24
    for name, pair in pairs.items():
        np.testing.assert_allclose(packed_pairs[name], pair, rtol=1e-5, err_msg=name)
    for weight, one, other in zip(model.weights, packed_gradients, gradients, strict=True):
        scale = max(1.0, np.abs(other).max())
        np.testing.assert_allclose(one / scale, other / scale, atol=1e-5, err_msg=weight.path)
