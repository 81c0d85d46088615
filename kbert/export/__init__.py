"""From a trained model to a SavedModel that takes raw text: signatures, warm-up records, self-test."""

from kbert.export.saved_model import SelfTestError as SelfTestError
from kbert.export.saved_model import export as export
from kbert.export.signatures import TextClassifier as TextClassifier
