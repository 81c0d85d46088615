"""Which graph answers for which task."""

from kbert.errors import InputError
from kbert.export.answer_finder import AnswerFinder
from kbert.export.choice_finder import ChoiceFinder
from kbert.export.embedder import TextEmbedder
from kbert.export.tagger import TextTagger
from kbert.export.text_answers import TextClassifier, TextLabeller, TextRegressor
from kbert.export.text_module import TextModule
from kbert.tasks import Task

_GRAPHS = {
    "classification": TextClassifier,
    "multi_label": TextLabeller,
    "regression": TextRegressor,
    "tagging": TextTagger,
    "question_answering": AnswerFinder,
    "embedding": TextEmbedder,
    "multiple_choice": ChoiceFinder,
}


def text_module(task: Task, model, max_length: int | None = None, precision: str = "float32") -> TextModule:
    """The graph of a fine-tuned model, to be given to `export`.

    Args:
        task: What the model was fine-tuned for.
        model: Built; for 8 bits, of `kbert.models.in_int8`.
        max_length: Longest sequence in pieces; None is the task's.
        precision: `"float32"` or `"bfloat16"`, as of `TextModule`.

    Raises:
        InputError: There is no graph for the task yet, or something does not fit the model.
    """
    if task.name not in _GRAPHS:
        raise InputError(f"the task is {task.name}; expected one of {', '.join(_GRAPHS)}")
    task.check_config(model.config)
    return _GRAPHS[task.name](task, model, max_length, precision)
