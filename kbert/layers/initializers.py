"""Where every weight matrix of BERT starts."""

import keras


def truncated_normal(stddev: float) -> keras.initializers.Initializer:
    """A fresh truncated normal around 0: values beyond two standard deviations are drawn again.

    An initializer instance of Keras 3 gives the same values at every call, so each weight needs its own.

    Args:
        stddev: Standard deviation before truncation; 0.02 in BERT.

    Reference:
        google-research/bert, modeling.py, `create_initializer`.
    """
    return keras.initializers.TruncatedNormal(stddev=stddev)
