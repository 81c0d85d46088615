import re

import pytest

from kbert.errors import InputError
from kbert.serving.deployment.plan import Choices, VersionPolicy, make_plan, parse_labels
from kbert.serving.deployment.sizing import size
from tests.serving.deployment.conftest import describe, write_description


def numbers(plan):
    return [version.number for version in plan.loaded]


@pytest.mark.parametrize(
    ("text", "loaded"),
    [("latest", (10,)), ("latest:1", (10,)), ("latest:2", (9, 10)), ("latest:9", (1, 9, 10)),
     ("all", (1, 9, 10)), ("specific:9,1", (1, 9)), ("specific:9,9", (9,))],
)  # fmt: skip
def test_a_policy_loads_by_number_not_by_name(text, loaded):
    assert VersionPolicy.parse(text).loaded([1, 10, 9]) == loaded


@pytest.mark.parametrize(
    "text", ["", "newest", "latest:0", "latest:-1", "latest:2.5", "all:2", "specific", "specific:",
             "specific:a", "specific:1,", "specific:1;2", "latest:99999"],
)  # fmt: skip
def test_other_policies_are_refused(text):
    with pytest.raises(InputError, match="expected latest"):
        VersionPolicy.parse(text)


@pytest.mark.parametrize(
    "text",
    ["stable", "stable:", "stable:x", ":1", "stable=1", "a b:1", "a/b:1", "stable:1,", "é:1", "stable:-1"],
)
def test_malformed_labels_are_refused(text):
    with pytest.raises(InputError, match="expected a name and a version"):
        parse_labels(text)


def test_a_label_names_one_version():
    assert parse_labels("") == {}
    assert parse_labels("a:1,b:1") == {"a": 1, "b": 1}
    with pytest.raises(InputError, match="label a is given to versions 1 and 2"):
        parse_labels("a:1,a:2")


def test_what_is_left_open_follows_from_the_export_and_the_rest(make_described):
    folder = make_described(1, 2, 3)
    plan = make_plan(folder, Choices())
    assert (plan.name, numbers(plan), str(plan.policy)) == ("mine", [3], "latest:1")
    assert plan.choices.image == "tensorflow/serving:2.20.0"
    assert (plan.choices.batching, plan.choices.max_replicas) == (False, 8)
    assert plan.model == folder.resolve()

    plan = make_plan(folder, Choices(gpu=True, labels="stable:1,canary:3"))
    assert (plan.choices.image, plan.choices.batching) == ("tensorflow/serving:2.20.0-gpu", True)
    assert (numbers(plan), str(plan.policy), plan.newest.number) == ([1, 3], "specific:1,3", 3)


def test_a_gpu_computes_no_8_bits(make_described):
    folder = make_described(1, precision="int8")
    assert not make_plan(folder, Choices()).choices.gpu
    with pytest.raises(InputError, match="gpu: version 1 is in 8 bits, which only CPUs compute"):
        make_plan(folder, Choices(gpu=True))
    make_described(2)
    assert make_plan(folder, Choices(gpu=True)).newest.number == 2


WRONG = {
    "unknown version": ({"versions": "specific:1,7"}, "version 7 is not in .*; there are 1, 2, 3"),
    "label of no version": ({"labels": "a:7"}, "label a:7: version 7 is not in .*; there are 1, 2, 3"),
    "label of a version that is not loaded": (
        {"labels": "a:1", "versions": "latest:2"}, "label a:1: --versions=latest:2 loads 2, 3 only; add 1"
    ),
    "upper case": ({"name": "Mine"}, "name 'Mine': .* give --name"),
    "underscore": ({"name": "my_model"}, "name 'my_model'"),
    "digit first": ({"name": "2nd"}, "a letter first"),
    "hyphen last": ({"name": "mine-"}, "no '-' last"),
    "too long": ({"name": "a" * 64}, "1 to 63"),
    "namespace": ({"namespace": "My Space"}, "namespace 'My Space'"),
    "claim": ({"volume_claim": "a/b"}, "volume_claim 'a/b'"),
    "image": ({"image": "two words"}, "image 'two words'"),
    "too few replicas at most": ({"replicas": 3, "max_replicas": 2}, "replicas 3 to 2"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_choices_that_do_not_fit_are_refused_in_one_line(wrong, make_described):
    choices, message = WRONG[wrong]
    with pytest.raises(InputError, match=message) as error:
        make_plan(make_described(1, 2, 3), Choices(**choices))
    assert "\n" not in str(error.value)


def test_a_name_of_63_characters_and_a_namespace_that_starts_with_a_digit_are_legal(make_described):
    plan = make_plan(make_described(), Choices(name="a" * 63, namespace="2nd"))
    assert plan.name == "a" * 63


def test_the_name_of_a_folder_must_do_for_kubernetes(make_described):
    with pytest.raises(InputError, match="name 'My_Model'.*give --name"):
        make_plan(make_described(name="My_Model"), Choices())
    assert make_plan(make_described(name="My_Model"), Choices(name="mine")).name == "mine"


def test_batching_is_refused_where_rows_are_lists(make_described):
    folder = make_described(rank=2)
    assert make_plan(folder, Choices(gpu=True)).choices.batching is False
    with pytest.raises(InputError, match="^batching: "):
        make_plan(folder, Choices(batching=True))


def test_what_is_no_export(make_described, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        make_plan(tmp_path / "nowhere", Choices())
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no version"):
        make_plan(tmp_path / "empty", Choices())
    folder = make_described(1, 2)
    (folder / "1/saved_model.pb").unlink()
    assert numbers(make_plan(folder, Choices())) == [2]
    with pytest.raises(InputError, match=re.escape(f"{folder}/1: no saved_model.pb")):
        make_plan(folder, Choices(versions="all"))
    (folder / "2/assets.extra/kbert.json").write_text('{"task": 3}')
    with pytest.raises(InputError, match="not the description of an export .TypeError"):
        make_plan(folder, Choices())
    (folder / "2/assets.extra/kbert.json").unlink()
    with pytest.raises(InputError, match="no assets.extra/kbert.json"):
        make_plan(folder, Choices())


def test_memory_is_2_5_times_the_largest_weights_and_one_more_for_each_version(make_described):
    folder = make_described(1, 2, weights=2**30)
    write_description(folder / "1", describe(weights=10))

    def memory(**choices):
        return size(make_plan(folder, Choices(**choices))).memory_mib

    assert memory() == 1024 + 2560
    assert memory(versions="all") == 1024 + 3584
    assert memory(gpu=True) == 4096 + 2560
    assert memory(versions="specific:1") == 1088  # next to nothing, in steps of 64


def test_threads_are_twice_the_largest_batch_at_least(make_described):
    folder = make_described(weights=4_000_000_000)
    assert size(make_plan(folder, Choices(cpus=1))).threads == 64
    assert size(make_plan(folder, Choices(cpus=16))).threads == 128
    # 600 seconds and what 20 MB a second take, in minutes.
    assert size(make_plan(folder, Choices())).startup_seconds == 780
