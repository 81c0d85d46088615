"""Trainable wholes, each a plain `keras.Model` built from a `BertConfig`."""

from kbert.models.bert import Bert as Bert
from kbert.models.classifier import BertClassifier as BertClassifier
from kbert.models.classifier import ClassificationObjective as ClassificationObjective
from kbert.models.head_model import HeadModel as HeadModel
from kbert.models.pretrainer import BertPretrainer as BertPretrainer
from kbert.models.pretrainer import PretrainingObjective as PretrainingObjective
