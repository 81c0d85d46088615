"""Logits become answers and scores, in NumPy."""

from kbert.evaluation.decoding import decode_labels as decode_labels
from kbert.evaluation.decoding import softmax as softmax
from kbert.evaluation.scores import classification_scores as classification_scores
