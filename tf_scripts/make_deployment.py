"""Writes what TF Serving needs to run an export: configuration, Compose, Kubernetes, alerts, requests.

    python tf_scripts/make_deployment.py --model=saved_models/quickstart --output=deployment

Memory, threads and times are computed from the export; the README in the folder has a request to each of its
signatures. Nothing is started. The last line on stdout is the folder's path.
"""

from absl import flags, logging

from kbert import entry

_MODEL = flags.DEFINE_string(
    "model",
    None,
    "Folder of versions, such as saved_models/quickstart, made by export_model.py",
    required=True,
)
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write; it must be empty or absent", required=True)
_OVERWRITE = flags.DEFINE_boolean(
    "overwrite", False, "Replace the files in --output; others that lie there stay as they are"
)
_NAME = flags.DEFINE_string("name", None, "The model's name in requests; default: the name of the folder")
_VERSIONS = flags.DEFINE_string(
    "versions",
    None,
    "Versions to load: latest, latest:2, all or specific:1,3; default: the latest, or those with labels",
)
_LABELS = flags.DEFINE_string("labels", "", "Names of versions, such as stable:1,canary:2")
_REPLICAS = flags.DEFINE_integer("replicas", 2, "Servers that always run in Kubernetes", 1)
_MAX_REPLICAS = flags.DEFINE_integer(
    "max_replicas", None, "Servers at most; default: four times --replicas", 1
)
_CPUS = flags.DEFINE_integer("cpus", 4, "Processors of one server", 1)
_IMAGE = flags.DEFINE_string(
    "image", None, "Container image; default: tensorflow/serving:2.20.0, with --gpu its -gpu variant"
)
_NAMESPACE = flags.DEFINE_string("namespace", None, "Namespace in Kubernetes; default: that of kubectl")
_VOLUME_CLAIM = flags.DEFINE_string(
    "volume_claim",
    None,
    "PersistentVolumeClaim with the model's folder in it; default: the folder --model on the node",
)
_BATCHING = flags.DEFINE_boolean(
    "batching", None, "Let the server join requests; default: with --gpu, as a CPU gains nothing by it"
)
_GPU = flags.DEFINE_boolean("gpu", False, "Give each server a GPU")
_SLOW_MS = flags.DEFINE_integer(
    "slow_ms", 1000, "A 99th percentile of answer times above this is an alert, in milliseconds", 1
)


def main() -> None:
    """Writes the folder and prints its path."""
    from kbert.serving.deployment.plan import Choices, make_plan
    from kbert.serving.deployment.rendering import ALL_FILES, render_deployment
    from kbert.serving.deployment.writing import check_folder, write_folder

    check_folder(_OUTPUT.value, overwrite=_OVERWRITE.value)
    choices = Choices(
        name=_NAME.value,
        versions=_VERSIONS.value,
        labels=_LABELS.value,
        replicas=_REPLICAS.value,
        max_replicas=_MAX_REPLICAS.value,
        cpus=_CPUS.value,
        image=_IMAGE.value,
        namespace=_NAMESPACE.value,
        volume_claim=_VOLUME_CLAIM.value,
        batching=_BATCHING.value,
        gpu=_GPU.value,
        slow_ms=_SLOW_MS.value,
    )
    plan = make_plan(_MODEL.value, choices)
    files = render_deployment(plan)
    folder = write_folder(_OUTPUT.value, files, overwrite=_OVERWRITE.value, obsolete=ALL_FILES)
    logging.info(
        "%s: %d files to serve %s, version %s; its README.md says how to start and ask",
        folder,
        len(files),
        plan.name,
        ", ".join(str(version.number) for version in plan.loaded),
    )
    print(folder)


if __name__ == "__main__":
    entry.run(main)
