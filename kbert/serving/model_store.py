"""All models and versions in memory: loads new ones, unloads old ones, finds the one a request means."""

import contextlib
import gc
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from absl import logging

from kbert.errors import InputError
from kbert.serving.loaded_model import LoadedModel
from kbert.serving.metrics import Metrics
from kbert.serving.model_configs import ModelConfig
from kbert.serving.status import ServingError, invalid
from kbert.serving.versions import find_latest_version, find_versions, fingerprint
from kbert.serving.warmup import run_warmup

LOADING, AVAILABLE, UNLOADING, END = "LOADING", "AVAILABLE", "UNLOADING", "END"


@dataclass
class VersionState:
    """What became of a version, in TF Serving's words.

    Args:
        state: LOADING, AVAILABLE, UNLOADING or END.
        code: Canonical code; not OK if it, or what has replaced its files since, could not be loaded.
        message: Why not.
        tried: The content that was loaded, or could not be.
    """

    state: str
    code: str = "OK"
    message: str = ""
    tried: tuple = ()


class ModelStore:
    """The served models; safe to use from several threads.

    A new version is loaded and warmed up beside the old one, which is unloaded when the new one answers and
    its own last request is done. A version that cannot be loaded, because its copy is still under way, say,
    changes nothing: the old one stays, and the new one is tried again when its files have changed. So does
    what is loaded when its folder disappears; where another export has its number, that replaces it.

    Args:
        configs: What to serve.
        metrics: Where the times of warm-ups go.

    Raises:
        InputError: A model has no version that can be loaded, or a label means one that is not.
    """

    def __init__(self, configs: Sequence[ModelConfig], metrics: Metrics):
        self._metrics = metrics
        self._poll_lock = threading.Lock()
        self._lock = threading.Condition()
        self._configs: dict[str, ModelConfig] = {config.name: config for config in configs}
        self._labels: dict[str, dict[str, int]] = {config.name: {} for config in configs}
        self._states: dict[str, dict[int, VersionState]] = {}
        self._models: dict[str, dict[int, LoadedModel]] = {}
        self._users: Counter[LoadedModel] = Counter()
        try:
            self.poll()
            for config in configs:
                self._require_version(config)
            self._set_labels(configs)
        except ServingError as error:
            self.close()
            raise InputError(error.message) from error
        except InputError:
            self.close()
            raise

    def _require_version(self, config: ModelConfig) -> None:
        if not self._models.get(config.name):
            find_latest_version(config.folder)
            failed = [state.message for state in self._states.get(config.name, {}).values()]
            wanted = f"none of the versions {list(config.specific)} is there"
            raise InputError(failed[0] if failed else f"{config.folder}: {wanted}")

    # ------------------------------------------------------------------------------- for requests

    def names(self) -> list[str]:
        """Names of the models that are configured."""
        return sorted(self._configs)

    def labels(self, name: str) -> dict[str, int]:
        """Label -> version."""
        return dict(self._labels.get(name, {}))

    @contextlib.contextmanager
    def using(self, name: str, version: int | None = None, label: str | None = None) -> Iterator[LoadedModel]:
        """The version that a request means, kept in memory until the request is done.

        Args:
            name: The model asked for.
            version: The version asked for; None for the highest that is loaded.
            label: Or its label.

        Raises:
            ServingError: NOT_FOUND or INVALID_ARGUMENT, with TF Serving's message.
        """
        with self._lock:
            model = self._find(name, version, label)
            self._users[model] += 1
        try:
            yield model
        finally:
            with self._lock:
                self._users[model] -= 1
                self._lock.notify_all()

    def _find(self, name: str, version: int | None, label: str | None) -> LoadedModel:
        if label is not None:
            version = self._labels.get(name, {}).get(label)
            if version is None:
                raise invalid(f"Unrecognized servable version label: {label}")
        loaded = self._models.get(name, {})
        found = loaded.get(max(loaded, default=0) if version is None else version)
        if found is None:
            asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise ServingError("NOT_FOUND", f"Servable not found for request: {asked}")
        return found

    def states(self, name: str, version: int | None = None) -> dict[int, VersionState]:
        """The versions that are or were loaded, the highest first.

        Args:
            name: The model asked for.
            version: The version asked for; None for all.

        Raises:
            ServingError: NOT_FOUND, with TF Serving's message.
        """
        with self._lock:
            known = dict(sorted(self._states.get(name, {}).items(), reverse=True))
        if not known and version is None:
            raise ServingError("NOT_FOUND", f"Could not find any versions of model {name}")
        if version is None:
            return known
        if version not in known:
            raise ServingError("NOT_FOUND", f"Could not find version {version} of model {name}")
        return {version: known[version]}

    # ------------------------------------------------------------------------------- for changes

    def reload(self, configs: Sequence[ModelConfig]) -> None:
        """Serves other models, versions or labels from now on; returns when they are loaded.

        Args:
            configs: All models to serve; those that are not among them are unloaded.

        Raises:
            ServingError: FAILED_PRECONDITION if a label is given to a version that is not loaded, and then
                nothing changes; UNKNOWN if a new model has no version that can be loaded.
        """
        with self._poll_lock:
            labelled = [config for config in configs if config.labels]
            self._check_labels(labelled)
            new = {config.name for config in configs} - self._configs.keys()
            with self._lock:
                self._configs = {config.name: config for config in configs}
                self._labels = {config.name: dict(config.labels) for config in configs}
            self._poll()
        failed = sorted(name for name in new if not self._models.get(name))
        if failed:
            reasons = ", ".join(f"{{{name} {self._failure(name)}}}" for name in failed)
            raise ServingError("UNKNOWN", f"{len(failed)} model(s) did not become available: {{{reasons}}}")

    def _failure(self, name: str) -> str:
        states = self._states.get(name, {})
        return f"due to error: {next(iter(states.values())).message}" if states else "has no version"

    def _set_labels(self, configs: Sequence[ModelConfig]) -> None:
        self._check_labels(configs)
        with self._lock:
            self._labels = {config.name: dict(config.labels) for config in configs}

    def _check_labels(self, configs: Sequence[ModelConfig]) -> None:
        for config in configs:
            for version in config.labels.values():
                if version not in self._models.get(config.name, {}):
                    asked = f"Request to assign label to version {version} of model {config.name}"
                    why = "which is not currently available for inference"
                    raise ServingError("FAILED_PRECONDITION", f"{asked}, {why}")

    def poll(self) -> None:
        """Looks at the folders once; loads what is new and unloads what is not wanted any more."""
        with self._poll_lock:
            self._poll()

    def _poll(self) -> None:
        for config in tuple(self._configs.values()):
            there = find_versions(config.folder)
            wanted = config.wanted(there)
            for version in wanted:
                self._load(config.name, version, there[version])
            loaded = self._models.get(config.name, {})
            if loaded.keys() & set(wanted):
                for version in sorted(loaded.keys() - set(wanted)):
                    self._unload(config.name, version)
        for name in self._models.keys() - self._configs.keys():
            for version in sorted(self._models[name]):
                self._unload(name, version)

    def _load(self, name: str, version: int, path: Path) -> None:
        states = self._states.setdefault(name, {})
        state, content = states.get(version), fingerprint(path)
        if state and state.tried == content:
            return
        # Another export may have taken the number since: it is loaded beside the old one, like a new version.
        old = self._models.get(name, {}).get(version)
        if old is None:
            with self._lock:
                states[version] = VersionState(LOADING, tried=content)
        try:
            model = self._load_and_warm_up(path, name)
        except InputError as error:
            logging.warning("%s; what was served before still is", error)
            with self._lock:
                states[version] = VersionState(AVAILABLE if old else END, "INTERNAL", str(error), content)
            return
        with self._lock:
            self._models.setdefault(name, {})[version] = model
            states[version] = VersionState(AVAILABLE, tried=content)
        if old is not None:
            self._free(old)
            logging.info("%s: what was loaded of that number before is unloaded", path)

    def _load_and_warm_up(self, path: Path, name: str) -> LoadedModel:
        model = LoadedModel(path, name)
        started, status = time.perf_counter(), "INVALID_ARGUMENT"
        try:
            requests = run_warmup(model)
            status = "OK"
        except BaseException:
            model.close()
            raise
        finally:
            self._metrics.add_warmup_time(str(path), status, time.perf_counter() - started)
        logging.info("%s: loaded, %d warm-up requests run", path, requests)
        return model

    def _unload(self, name: str, version: int) -> None:
        with self._lock:
            model = self._models[name].pop(version)
            self._states[name][version] = VersionState(UNLOADING)
        self._free(model)
        with self._lock:
            self._states[name][version] = VersionState(END)
        logging.info("%s: unloaded", model.path)

    def _free(self, model: LoadedModel) -> None:
        """Closes a model that no request finds any more, when those that have it already are done."""
        with self._lock:
            self._lock.wait_for(lambda: self._users[model] == 0)
            del self._users[model]
        model.close()
        gc.collect()

    def close(self) -> None:
        """Frees all models; no request may follow."""
        for versions in self._models.values():
            for model in versions.values():
                model.close()
        self._models = {}
