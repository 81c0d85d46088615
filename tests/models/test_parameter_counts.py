import keras
import pytest

from kbert import BertConfig
from kbert.models import Bert

#: Encoder with pooler; google-research/bert's releases as counted in keras-hub's bert_presets.py.
PUBLISHED = {
    ("tiny", 30522): 4_385_920,
    ("small", 30522): 28_763_648,
    ("medium", 30522): 41_373_184,
    ("base", 30522): 109_482_240,
    ("base", 28996): 108_310_272,
    ("base", 21128): 102_267_648,
    ("base", 119547): 177_853_440,
    ("large", 30522): 335_141_888,
    ("large", 28996): 333_579_264,
}


@pytest.mark.parametrize(("size", "vocab_size"), PUBLISHED)
def test_parameter_counts_are_the_published_ones(size, vocab_size):
    model = Bert(BertConfig.preset(size, vocab_size=vocab_size))
    # Symbolic: shapes without numbers, so that `large` costs nothing.
    with keras.StatelessScope(initialize_variables=False):
        model.build()
    assert model.count_params() == PUBLISHED[size, vocab_size]
    # Keras would create what was only announced here in the next test that runs a layer.
    keras.utils.clear_session(free_memory=False)
