"""Several runs: the best is kept, failed ones are counted, and what differs is their seed and rate."""

from dataclasses import asdict
from types import SimpleNamespace

import keras
import pytest

from kbert.errors import InputError
from kbert.recipe import Recipe
from kbert.run_grid import clear, each_run, folder_of_best, run_grid, spread
from kbert.run_settings import RunSettings
from kbert.training import Checkpoints

SCORES = {(2e-5, 1): 0.5, (2e-5, 2): 0.75, (5e-5, 1): None, (5e-5, 2): 0.25}


def run(settings, folder):
    folder.mkdir(parents=True)
    (folder / "best.npz").touch()
    score = SCORES[settings.learning_rate, settings.seed]
    if score is None:
        raise FloatingPointError("the loss is nan")
    return SimpleNamespace(score=score, folder=folder)


def test_the_best_of_all_runs_is_kept(tmp_path):
    best, points = run_grid(
        run, RunSettings(epochs=7), seeds=[1, 2], learning_rates=[2e-5, 5e-5], model_dir=tmp_path
    )
    assert best.score == 0.75 and best.folder.name == "learning_rate-2e-05-seed-2"
    assert {(p.settings.learning_rate, p.settings.seed): p.score for p in points} == SCORES
    assert len({p.folder for p in points}) == 4 and all(p.settings.epochs == 7 for p in points)
    assert [(row["learning_rate"], row["seed"]) for row in each_run(points, "f1")] == [
        (2e-5, 1), (2e-5, 2), (5e-5, 1), (5e-5, 2)
    ]  # fmt: skip
    assert [row["f1"] for row in each_run(points, "f1")] == [point.score for point in points]
    assert folder_of_best(points) == best.folder
    first, second = spread(points)
    assert first["mean"] == 0.625 and first["failed"] == 0 and first["lowest"] == 0.5
    assert first["standard_deviation"] == pytest.approx(0.25 / 2**0.5)
    assert second["failed"] == 1 and second["mean"] == 0.25 and second["standard_deviation"] == 0
    clear(points, tmp_path)
    assert not list(tmp_path.rglob("best.npz"))


def test_of_a_run_that_is_done_the_last_checkpoint_alone_stays_meanwhile(tmp_path):
    def leaving(settings, folder):
        done = run(settings, folder)
        (folder / "checkpoints").mkdir(exist_ok=True)
        for step in (2, 3):
            (folder / f"checkpoints/step-{step:09d}.npz").touch()
        return done

    run_grid(leaving, RunSettings(), seeds=[1, 2], learning_rates=[2e-5], model_dir=tmp_path)
    assert [path.name for path in tmp_path.rglob("step-*.npz")] == ["step-000000003.npz"] * 2


def test_one_run_is_in_the_folder_itself_and_fails_as_it_fails(tmp_path):
    best, _ = run_grid(run, RunSettings(), seeds=[2], learning_rates=[2e-5], model_dir=tmp_path / "m")
    assert best.folder == tmp_path / "m"
    with pytest.raises(FloatingPointError, match="loss is nan"):
        run_grid(run, RunSettings(), seeds=[1], learning_rates=[5e-5], model_dir=tmp_path / "n")


def test_runs_that_cannot_be_compared_are_refused(tmp_path):
    unmeasured = lambda settings, folder: SimpleNamespace(score=None)  # noqa: E731
    with pytest.raises(InputError, match="--dev"):
        run_grid(unmeasured, RunSettings(), seeds=[1, 2], learning_rates=[2e-5], model_dir=tmp_path)
    run_grid(unmeasured, RunSettings(), seeds=[1], learning_rates=[2e-5], model_dir=tmp_path)


def test_what_is_out_of_range_is_told_before_the_first_run(tmp_path):
    with pytest.raises(InputError, match="--seed=-1; expected 0 to 4294967295"):
        run_grid(run, RunSettings(), seeds=[2, -1], learning_rates=[2e-5], model_dir=tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_folder_of_another_run_is_told_before_the_first_run(tmp_path):
    """Here that of the last run, from a grid that was smaller and stopped."""
    grid = {"seeds": [1, 2], "learning_rates": [2e-5], "model_dir": tmp_path}
    begun = RunSettings(epochs=3, learning_rate=2e-5, seed=2, precision="float32")
    folder = tmp_path / "runs" / "learning_rate-2e-05-seed-2" / "checkpoints"
    noted = {
        **asdict(begun),
        "layer_decay": 0.9,
        "label_smoothing": 0.0,
        "class_weights": "equal",
        "rows": "9f",
    }
    Checkpoints(folder, settings=noted).save(1, [keras.Variable([1.0])], {})
    for epochs, recipe, named in [
        (4, Recipe(layer_decay=0.9), "epochs=3, which cannot go on with 4"),
        (3, None, "layer_decay=0.9, which cannot go on with None"),
        (3, Recipe(layer_decay=0.9, head_scale=4.0), "head_scale=None, which cannot go on with 4.0"),
    ]:
        settings = RunSettings(epochs=epochs, precision="float32")
        with pytest.raises(InputError, match=f"seed-2/checkpoints: holds a run with {named}"):
            run_grid(pytest.fail, settings, recipe, **grid)
    begun_anew = []
    run_grid(
        lambda own, _: begun_anew.append(own.seed) or SimpleNamespace(score=0.5),
        RunSettings(precision="float32"), Recipe(layer_decay=0.9), **grid,
    )  # fmt: skip
    assert begun_anew == [1, 2]
    (folder / "step-000000001.npz").write_bytes(b"cut off")
    with pytest.raises(InputError, match="all 1 checkpoints are damaged"):
        run_grid(pytest.fail, RunSettings(), **grid)


def test_all_runs_failed(tmp_path):
    def fail(settings, folder):
        raise FloatingPointError("nan")

    with pytest.raises(FloatingPointError, match="all runs failed"):
        run_grid(fail, RunSettings(), seeds=[1, 2], learning_rates=[2e-5], model_dir=tmp_path)


@pytest.mark.parametrize("seeds, rates", [([1, 1], [2e-5]), ([1], [2e-5, 2.00000001e-5])])
def test_the_same_run_twice_is_refused(tmp_path, seeds, rates):
    with pytest.raises(InputError, match="learning_rate-2e-05-seed-1 would be run twice"):
        run_grid(run, RunSettings(), seeds=seeds, learning_rates=rates, model_dir=tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_what_a_run_failed_on_is_kept(tmp_path):
    _, points = run_grid(run, RunSettings(), seeds=[1, 2], learning_rates=[5e-5], model_dir=tmp_path)
    for point in points:
        (point.folder / "checkpoints").mkdir()
        for name in ("step-000000003.npz", "bad-batch-of-step-4.npz"):
            (point.folder / "checkpoints" / name).touch()
    clear(points, tmp_path)
    assert [path.name for path in points[0].folder.rglob("*.npz")] == ["bad-batch-of-step-4.npz"]
    assert not (points[1].folder / "checkpoints").exists()


def test_what_earlier_commands_left_is_told_and_stays(tmp_path, caplog):
    """A single run that was stopped, and a seed that is not among those of now."""
    left = [tmp_path / "checkpoints", tmp_path / "runs" / "learning_rate-2e-05-seed-3" / "checkpoints"]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "step-000000003.npz").touch()
    _, points = run_grid(lambda *_: SimpleNamespace(score=0.5), RunSettings(), seeds=[1, 2],
                         learning_rates=[2e-5], model_dir=tmp_path)  # fmt: skip
    with caplog.at_level("WARNING", logger="absl"):
        clear(points, tmp_path)
    (record,) = caplog.records
    assert record.getMessage().count(str(tmp_path)) == 2 and "learning_rate-2e-05-seed-3;" in caplog.text
    assert all((folder / "step-000000003.npz").exists() for folder in left)
    for folder in left:
        (folder / "step-000000003.npz").unlink()
    clear(points, tmp_path)
    assert len(caplog.records) == 1
