"""The one exception that means "your input", as opposed to "our bug"."""


class InputError(ValueError):
    """Something a user gave (a file, a flag, a label, a checkpoint) cannot be used.

    The message says what came, what was expected and how to mend it, and names file and line where
    there are any. Library code raises it; scripts print it as one line and exit with code 2, while any
    other exception keeps its traceback, because it is a defect of kbert.

    Example:
        >>> raise InputError("train.tsv:7: 2 columns, but the header names 3; is a tab missing?")
        Traceback (most recent call last):
        ...
        kbert.errors.InputError: train.tsv:7: 2 columns, but the header names 3; is a tab missing?
    """
