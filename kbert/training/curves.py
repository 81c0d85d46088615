"""A picture of how a run went."""

import os

import keras
from absl import logging

from kbert.training.callbacks import read_metrics
from kbert.training.strategies import is_chief

_NO_CURVES = ("step", "seconds", "epoch")


class CurvesImage(keras.callbacks.Callback):
    """Draws the curves of a `MetricsFile` at the end of a run; only a log line where matplotlib is missing.

    Args:
        metrics_path: Of the `MetricsFile`, which must come before this in the list of callbacks.
        image_path: PNG file to write.
    """

    def __init__(self, metrics_path: str | os.PathLike, image_path: str | os.PathLike):
        super().__init__()
        self.metrics_path = metrics_path
        self.image_path = image_path

    def on_train_end(self, logs=None):
        if not is_chief():
            return
        try:
            draw_curves(read_metrics(self.metrics_path), self.image_path)
        except ImportError:
            logging.info(
                "no %s: matplotlib is missing; pip install '.[plots]' in the source folder",
                self.image_path,
            )


def draw_curves(rows: list[dict[str, float]], image_path: str | os.PathLike) -> None:
    """Writes a PNG with one panel a figure: those of calls as a line, those of epochs as dots.

    Args:
        rows: Of `read_metrics`.
        image_path: File to write.

    Raises:
        ImportError: matplotlib is missing.
    """
    from matplotlib.figure import Figure  # No pyplot, which would look for a screen.

    names = [name for name in dict.fromkeys(key for row in rows for key in row) if name not in _NO_CURVES]
    # val_loss belongs into the panel of loss.
    panels = list(dict.fromkeys(name.removeprefix("val_") for name in names))
    figure = Figure(figsize=(7, 2.2 * max(1, len(panels))), layout="constrained")
    for number, panel in enumerate(panels, 1):
        axes = figure.add_subplot(len(panels), 1, number, xlabel="step", title=panel)
        calls = [row for row in rows if panel in row and "epoch" not in row]
        axes.plot([row["step"] for row in calls], [row[panel] for row in calls], linewidth=1)
        for name in (panel, f"val_{panel}"):
            epochs = [row for row in rows if name in row and "epoch" in row]
            if epochs:
                axes.plot([row["step"] for row in epochs], [row[name] for row in epochs], "o-", label=name)
        if axes.lines[1:]:
            axes.legend()
    figure.savefig(os.fspath(image_path), dpi=120)
