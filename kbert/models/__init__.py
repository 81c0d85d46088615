"""Trainable wholes, each a plain `keras.Model` built from a `BertConfig`."""

from kbert.models.bert import Bert as Bert
from kbert.models.classifier import BertClassifier as BertClassifier
from kbert.models.classifier import ClassificationObjective as ClassificationObjective
from kbert.models.classifier import MultiLabelObjective as MultiLabelObjective
from kbert.models.classifier import RegressionObjective as RegressionObjective
from kbert.models.classifier import objective_of as objective_of
from kbert.models.embedder import BertEmbedder as BertEmbedder
from kbert.models.embedder import CosineRegressionObjective as CosineRegressionObjective
from kbert.models.embedder import InBatchNegativesObjective as InBatchNegativesObjective
from kbert.models.head_model import HeadModel as HeadModel
from kbert.models.int8 import in_int8 as in_int8
from kbert.models.lora import AdaptableModel as AdaptableModel
from kbert.models.lora import require_merged as require_merged
from kbert.models.masked_lm import BertMaskedLM as BertMaskedLM
from kbert.models.masked_lm import MaskedLMObjective as MaskedLMObjective
from kbert.models.multiple_choice import BertMultipleChoice as BertMultipleChoice
from kbert.models.multiple_choice import MultipleChoiceObjective as MultipleChoiceObjective
from kbert.models.pretrainer import BertPretrainer as BertPretrainer
from kbert.models.pretrainer import PretrainingObjective as PretrainingObjective
from kbert.models.reinitialization import reinitialize_top_layers as reinitialize_top_layers
from kbert.models.span_finder import BertSpanFinder as BertSpanFinder
from kbert.models.span_finder import SpanObjective as SpanObjective
from kbert.models.tagger import BertTagger as BertTagger
from kbert.models.tagger import TaggingObjective as TaggingObjective
from kbert.models.text_model import TextModel as TextModel
