"""Logits become answers and scores, in NumPy."""

from kbert.evaluation.answer_decoding import WindowScores as WindowScores
from kbert.evaluation.answer_decoding import decode_answer as decode_answer
from kbert.evaluation.answer_scores import best_null_threshold as best_null_threshold
from kbert.evaluation.answer_scores import squad_scores as squad_scores
from kbert.evaluation.answer_scores import squad_v2_scores as squad_v2_scores
from kbert.evaluation.certainty import calibration as calibration
from kbert.evaluation.certainty import confidence_interval as confidence_interval
from kbert.evaluation.chinese_answer_scores import cmrc_scores as cmrc_scores
from kbert.evaluation.decoding import decode_labels as decode_labels
from kbert.evaluation.decoding import softmax as softmax
from kbert.evaluation.entity_decoding import decode_entities as decode_entities
from kbert.evaluation.entity_scores import entity_scores as entity_scores
from kbert.evaluation.retrieval_scores import recall_at_k as recall_at_k
from kbert.evaluation.retrieval_scores import similarity_scores as similarity_scores
from kbert.evaluation.scores import best_threshold as best_threshold
from kbert.evaluation.scores import classification_scores as classification_scores
from kbert.evaluation.scores import confusion_matrix as confusion_matrix
from kbert.evaluation.scores import regression_scores as regression_scores
from kbert.evaluation.scores import several_labels_scores as several_labels_scores
