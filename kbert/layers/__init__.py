"""Every Keras layer of kbert, and the functions they share; imports nothing else from kbert."""

from kbert.layers.activations import activation as activation
from kbert.layers.activations import gelu as gelu
from kbert.layers.activations import gelu_tanh as gelu_tanh
from kbert.layers.attention import SelfAttention as SelfAttention
from kbert.layers.dense import TokenDense as TokenDense
from kbert.layers.dropout import Dropout as Dropout
from kbert.layers.embeddings import BertEmbeddings as BertEmbeddings
from kbert.layers.encoder import TransformerBlock as TransformerBlock
from kbert.layers.heads import MaskedLanguageModelHead as MaskedLanguageModelHead
from kbert.layers.heads import Pooler as Pooler
from kbert.layers.heads import gather_positions as gather_positions
from kbert.layers.initializers import truncated_normal as truncated_normal
from kbert.layers.losses import correct_sum as correct_sum
from kbert.layers.losses import cross_entropy_sum as cross_entropy_sum
from kbert.layers.masks import attention_bias as attention_bias
