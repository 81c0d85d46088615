"""Files become `tf.data`: labelled examples for fine-tuning, records for pretraining."""

from kbert.data.corpus import read_documents as read_documents
from kbert.data.encoding import EncodedTexts as EncodedTexts
from kbert.data.encoding import encode as encode
from kbert.data.encoding import label_list as label_list
from kbert.data.examples import Example as Example
from kbert.data.pipelines import evaluation_batches as evaluation_batches
from kbert.data.pipelines import training_batches as training_batches
from kbert.data.pretraining import write_records as write_records
from kbert.data.readers import read_examples as read_examples
from kbert.data.tfrecord import RecordsDescription as RecordsDescription
from kbert.data.tfrecord import pretraining_batches as pretraining_batches
