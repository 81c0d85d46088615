"""Fits any `keras.Model` under any `tf.distribute` strategy; knows no BERT."""

from kbert.training.averages import averaged_weights as averaged_weights
from kbert.training.batches import Batches as Batches
from kbert.training.batches import in_phases as in_phases
from kbert.training.best_weights import BestWeights as BestWeights
from kbert.training.callbacks import MetricsFile as MetricsFile
from kbert.training.callbacks import ProgressLog as ProgressLog
from kbert.training.callbacks import SummaryLog as SummaryLog
from kbert.training.checkpointing import Checkpoints as Checkpoints
from kbert.training.curves import CurvesImage as CurvesImage
from kbert.training.faults import EXIT_TERMINATED as EXIT_TERMINATED
from kbert.training.faults import Terminated as Terminated
from kbert.training.faults import WorkerLost as WorkerLost
from kbert.training.lamb import Lamb as Lamb
from kbert.training.loop import fit as fit
from kbert.training.optimizers import AdamW as AdamW
from kbert.training.optimizers import BertAdamW as BertAdamW
from kbert.training.precision import dtype_policy as dtype_policy
from kbert.training.schedules import CosineWarmup as CosineWarmup
from kbert.training.schedules import LinearWarmup as LinearWarmup
from kbert.training.schedules import PolynomialWarmup as PolynomialWarmup
from kbert.training.schedules import WarmupStableDecay as WarmupStableDecay
from kbert.training.schedules import schedule_for as schedule_for
from kbert.training.steps import Objective as Objective
from kbert.training.strategies import is_chief as is_chief
from kbert.training.strategies import strategy_for as strategy_for
