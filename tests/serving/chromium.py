"""A headless Chromium for tests: the DevTools protocol on a pair of pipes, with the standard library."""

import fcntl
import itertools
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time

NAMES = ("chromium", "chromium-browser", "google-chrome")
REASON = f"no Chromium: none of {', '.join(NAMES)} is on the PATH, nor is KBERT_CHROMIUM set to one"
_SECONDS = 30

# The browser reads commands from file descriptor 3 and writes answers to 4.
_LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find_chromium():
    """Path of a Chromium, or None."""
    found = (shutil.which(name) for name in (os.environ.get("KBERT_CHROMIUM", ""), *NAMES) if name)
    return next((path for path in found if path), None)


class Browser:
    """One browser with one page. `events` are all that the page has sent, oldest first."""

    def __init__(self, path, profile):
        flags = "--headless=new --remote-debugging-pipe --no-first-run --disable-gpu --disable-dev-shm-usage"
        flags += " --disable-background-networking --disable-component-update --disable-sync --no-sandbox"
        arguments = [path, *flags.split(), f"--user-data-dir={profile}"]
        (commands, self._to), (self._from, answers) = os.pipe(), os.pipe()
        # Out of the way of 3 and 4, which they become.
        theirs = [fcntl.fcntl(number, fcntl.F_DUPFD, 10) for number in (commands, answers)]
        with open(os.path.join(profile, "log"), "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-ISc", _LAUNCHER, *map(str, theirs), *arguments],
                pass_fds=theirs,
                stdout=log,
                stderr=log,
            )
        for number in (commands, answers, *theirs):
            os.close(number)
        self._numbers, self._answers, self.events = itertools.count(1), queue.Queue(), []
        self._session = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def _read(self):
        unfinished = b""
        while block := os.read(self._from, 65536):
            *messages, unfinished = (unfinished + block).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    self._answers.put(message)
                else:
                    self.events.append(message)

    def call(self, method, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        content = json.dumps(message).encode() + b"\0"
        while content:
            content = content[os.write(self._to, content) :]
        while (answer := self._answers.get(timeout=_SECONDS))["id"] != number:
            pass
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, (expression, answer)
        return answer["result"].get("value")

    def wait(self, expression):
        """Waits until an expression is true."""
        end = time.monotonic() + _SECONDS
        # An element, which is true to JavaScript, would come back as an empty dict.
        while not self.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < end, (expression, self.evaluate("document.body.innerText"))
            time.sleep(0.02)

    def type(self, selector, text):
        """Writes into a field, over what is there, as a keyboard does."""
        self.evaluate(
            f"(field => {{ field.focus(); field.select(); }})(document.querySelector({selector!r}))"
        )
        self.call("Input.insertText", text=text)

    def press(self, key, code, modifiers=0):
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                modifiers=modifiers,
            )

    def named(self, method):
        return [event["params"] for event in self.events if event["method"] == method]

    def close(self):
        self._session = None
        self.call("Browser.close")
        self._process.wait(_SECONDS)
        self._reader.join(_SECONDS)
        os.close(self._to)
        os.close(self._from)
