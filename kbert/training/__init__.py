"""Fits any `keras.Model` under any `tf.distribute` strategy; knows no BERT."""

from kbert.training.callbacks import ProgressLog as ProgressLog
from kbert.training.callbacks import SummaryLog as SummaryLog
from kbert.training.loop import Objective as Objective
from kbert.training.loop import fit as fit
from kbert.training.optimizers import AdamW as AdamW
from kbert.training.precision import dtype_policy as dtype_policy
from kbert.training.schedules import LinearWarmup as LinearWarmup
from kbert.training.strategies import strategy_for as strategy_for
