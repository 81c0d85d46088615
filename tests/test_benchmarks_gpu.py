"""benchmarks/gpu.py: the rows that it makes, and every case on the processor."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def rows(monkeypatch):
    """The class, imported as gpu.py does."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from speed.device_rows import Rows

    return Rows


def test_packed_rows_hold_the_documents_of_the_padded_ones(rows):
    made = rows(8, 512, documents=True)
    inputs, targets = made.packed()
    padded = made.padded()
    assert all(sum(sizes) <= 512 for sizes in made.rows) and max(map(len, made.rows)) > 1
    number = 0
    for row, sizes in enumerate(made.rows):
        for part, size in enumerate(sizes, 1):
            place = inputs["part_ids"][row] == part
            assert place.sum() == size
            assert inputs["first_positions"][row, part - 1] == place.argmax()
            np.testing.assert_array_equal(inputs["token_ids"][row, place], padded["input_ids"][number, :size])
            np.testing.assert_array_equal(inputs["position_ids"][row, place], np.arange(size))
            number += 1
    assert number == len(padded["labels"])
    # Both are asked for the same tokens, in the same order, where their rows say so.
    asked = targets["mask_weights"] > 0
    np.testing.assert_array_equal(targets["mask_ids"][asked], padded["labels"][padded["labels"] >= 0])
    hidden = np.take_along_axis(inputs["token_ids"], inputs["mask_positions"], 1)[asked]
    assert (hidden == 103).all() and (padded["input_ids"][padded["labels"] >= 0] == 103).all()
    assert made.num_masked == asked.sum() and made.num_tokens == (padded["input_ids"] > 0).sum()


def test_full_rows_need_no_parts(rows):
    made = rows(3, 128, documents=False)
    inputs, _ = made.packed()
    assert set(inputs) == {"token_ids", "mask_positions"} and made.lengths == [128] * 3


@pytest.mark.slow
def test_every_case_on_the_processor(tmp_path):
    if subprocess.run([sys.executable, "-c", "import jax"], capture_output=True).returncode:
        pytest.skip('pip install "jax[cpu]" brings the backend')
    command = [
        sys.executable, "benchmarks/gpu.py", f"--output={tmp_path}", "--size=tiny", "--batch_size=2",
        "--steps=3", "--rounds=1", "--warmup=0",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "KERAS_BACKEND": "jax"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((tmp_path / "results.json").read_text())
    assert {measured["device"] for measured in results["measured"].values()} == {"cpu (cpu)"}
    assert list(results["cases"]) == ["pretrain-128", "pretrain-512", "answer-128"]
    for name, found in results["cases"].items():
        row = found["kbert"]
        assert row["real_tokens_per_second"] > 0 and 0 < row["share_of_peak"] < 1
        if name.startswith("pretrain"):  # From blind guessing, ln 30522.
            assert 9 < row["loss"] < 11.5
