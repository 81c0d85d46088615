"""Checkpoints in and out: kbert's own folders, Google's TF1 form, Hugging Face's safetensors form."""

from kbert.checkpoints.conversion import convert as convert
from kbert.checkpoints.folder import read_spec as read_spec
from kbert.checkpoints.folder import save_folder as save_folder
from kbert.checkpoints.forms import find_vocab as find_vocab
from kbert.checkpoints.forms import read_config as read_config
from kbert.checkpoints.forms import read_lowercase as read_lowercase
from kbert.checkpoints.forms import read_pooling as read_pooling
from kbert.checkpoints.forms import read_task as read_task
from kbert.checkpoints.forms import read_tokens as read_tokens
from kbert.checkpoints.loading import load as load
from kbert.checkpoints.loading import load_encoder_into as load_encoder_into
