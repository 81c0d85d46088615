"""From a trained model to a SavedModel that takes raw text: signatures, warm-up records, self-test."""

from kbert.export.attention import add_attention as add_attention
from kbert.export.graphs import text_module as text_module
from kbert.export.mask_filler import MaskFiller as MaskFiller
from kbert.export.saved_model import SelfTestError as SelfTestError
from kbert.export.saved_model import check_export_dir as check_export_dir
from kbert.export.saved_model import export as export
from kbert.export.saved_model import verify as verify
from kbert.export.text_answers import TextClassifier as TextClassifier
from kbert.export.text_module import Signature as Signature
from kbert.export.text_module import TextModule as TextModule
