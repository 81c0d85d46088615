"""The page, driven in a headless Chromium against the local server."""

import json
import re
import urllib.request
from pathlib import Path

import pytest

from kbert.serving.model_configs import ModelConfig
from kbert.serving.page import CONTENT_SECURITY_POLICY, find_page
from kbert.serving.server import LocalServer
from tests.serving.chromium import REASON, Browser, find_chromium
from tests.serving.page_models import ANSWERS, ATTENTION, NAMES_TEXT, PASSAGE, TOKENS, write_models

FILES = ["/", "/page.js", "/models.js", "/views.js", "/attention.js", "/page.css", "/icon.svg"]
with_browser = pytest.mark.skipif(find_chromium() is None, reason=REASON)
CONTROL = 2


@pytest.fixture(scope="module")
def url(tiny_export, tmp_path_factory):
    models = [ModelConfig("topics", tiny_export, latest=0, labels={"stable": 1})]
    models += write_models(tmp_path_factory.mktemp("page"))
    with LocalServer(models, rest_port=0, grpc_port=0) as server:
        yield server.rest_url


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(find_chromium(), str(tmp_path_factory.mktemp("profile")))
    yield browser
    browser.close()


@pytest.fixture
def page(browser, url):
    """Function that opens a model; afterwards nothing may have gone wrong, and nothing left the machine."""

    def open_model(name, version=""):
        browser.open(f"{url}/#/{name}{version}")
        browser.wait(f"document.title.startsWith({name!r}) && !document.getElementById('ask').disabled")
        return browser

    browser.open("about:blank")
    browser.events.clear()
    yield open_model
    addresses = [event["request"]["url"] for event in browser.named("Network.requestWillBeSent")]
    assert addresses and all(address.startswith(f"{url}/") for address in addresses), addresses
    assert not browser.named("Runtime.exceptionThrown")
    assert not browser.named("Runtime.consoleAPICalled")
    assert not [event["entry"] for event in browser.named("Log.entryAdded")]


def texts(browser, selector):
    return browser.evaluate(f"[...document.querySelectorAll({selector!r})].map(node => node.textContent)")


def ask(browser, selector="#answer > *", **fields):
    for name, text in fields.items():
        browser.type(f"#field-{name}", text)
    browser.evaluate("document.getElementById('ask').click()")
    browser.wait(
        f"document.getElementById('answer').ariaBusy === 'false' && document.querySelector({selector!r})"
    )


def post(url, path, body):
    request = urllib.request.Request(f"{url}/v1/models/{path}", json.dumps(body).encode())
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read())


def test_files_of_the_page_and_nothing_else_are_found():
    assert {find_page(path)[1].partition(";")[0] for path in FILES} == {
        "text/html", "text/javascript", "text/css", "image/svg+xml",
    }  # fmt: skip
    for path in (
        "",
        "/page",
        "/page/page.js",
        "/../page.py",
        "/page.js/",
        "//page.js",
        "/PAGE.JS",
        "page.js",
    ):
        assert find_page(path) is None, path


@pytest.mark.parametrize("path", FILES)
def test_files_have_no_inline_code_and_no_foreign_address(path):
    text = find_page(path)[0].decode()
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", text)) - {"http://www.w3.org/2000/svg"}
    assert not addresses
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text)
    assert not re.search(r"<style|<script(?![^>]*\ssrc=)|\s(?:on\w+|style)=\"", text)
    assert len(text.splitlines()) < 250


@pytest.mark.serving
def test_server_sends_the_page_with_its_policy(url):
    with urllib.request.urlopen(f"{url}/") as answer:
        assert (
            answer.read() == (Path(find_page.__globals__["__file__"]).parent / "page/index.html").read_bytes()
        )
        assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY


@with_browser
@pytest.mark.serving
def test_labels_have_the_servers_numbers(page, url):
    browser = page("topics")
    assert texts(browser, "#kind") == ["classification"]
    ask(browser, ".bars li", text="a nice day")
    (pairs,) = post(
        url, "topics:classify", {"examples": [{"text": "a nice day"}], "signature_name": "classify"}
    )["results"]
    expected = [(name, f"{100 * score:.1f} %") for name, score in sorted(pairs, key=lambda pair: -pair[1])]
    assert list(zip(texts(browser, ".bars .name"), texts(browser, ".bars .value"), strict=True)) == expected
    assert texts(browser, ".headline") == [expected[0][0]]
    assert re.fullmatch(r"[0-9.]+ ms", texts(browser, "#latency")[0])
    assert "12 pieces" in texts(browser, "#notes")[0]
    assert json.loads(texts(browser, "#request")[0].partition("\n")[2]) == {
        "instances": [{"text": "a nice day"}]
    }
    assert "predictions" in texts(browser, "#response")[0]


@with_browser
@pytest.mark.serving
def test_versions_and_labels_are_chosen_and_kept_in_the_address(page):
    browser = page("topics")
    assert texts(browser, "#version option") == ["newest", "stable (1)", "1"]
    browser.evaluate("version.value = 'labels/stable'; version.dispatchEvent(new Event('change'))")
    browser.wait("location.hash === '#/topics/labels/stable' && !document.getElementById('ask').disabled")
    ask(browser, ".bars li", text="x")
    assert texts(browser, "#request")[0].startswith("POST /v1/models/topics/labels/stable:predict")
    browser.evaluate("model.value = 'prices'; model.dispatchEvent(new Event('change'))")
    browser.wait("document.title.startsWith('prices')")
    assert browser.evaluate("location.hash") == "#/prices"
    assert browser.evaluate("document.getElementById('field-text').value") == "x"  # The text stays.
    assert page("topics", "/versions/1").evaluate("version.value") == "versions/1"


@with_browser
@pytest.mark.serving
def test_several_labels_are_ticked(page):
    browser = page("many")
    ask(browser, ".bars li", text="x")
    assert texts(browser, ".bars li") == ["✓ label 062.5 %", "label 125.0 %"]
    assert texts(browser, ".headline") == ["label 0"]


@with_browser
@pytest.mark.serving
def test_entities_are_marked_where_they_stand_also_behind_an_emoji(page):
    browser = page("names")
    ask(browser, "mark", text=NAMES_TEXT)
    parts = (
        "node.firstChild.data, node.lastChild.textContent, node.title, getComputedStyle(node).backgroundColor"
    )
    marks = browser.evaluate(f"[...document.querySelectorAll('.text mark')].map(node => [{parts}])")
    assert [mark[:3] for mark in marks] == [
        ["Ada Lovelace", "PER", "PER 75.0 %"], ["Bo", "PER", "PER 75.0 %"], ["Paris", "LOC", "LOC 75.0 %"],
    ]  # fmt: skip
    assert marks[0][3] == marks[1][3] != marks[2][3]
    assert texts(browser, ".legend li") == ["LOC 1", "PER 2"]
    assert texts(browser, ".text")[0].replace("PER", "").replace("LOC", "") == NAMES_TEXT
    assert "its end was left out" in texts(browser, "#notes")[0]


@with_browser
@pytest.mark.serving
def test_answers_are_marked_in_the_passage_and_others_can_be_looked_at(page):
    browser = page("answers")
    ask(browser, "mark", question="Who wrote it?", context=PASSAGE)
    assert texts(browser, "mark") == ["Li Bai"] and texts(browser, ".text") == [PASSAGE]
    assert ANSWERS["num_answers"] == 3
    assert texts(browser, ".answers li") == [
        "Li Bai75.0 %  score 5.500",
        "Du Fu20.0 %  score 3.250",
        "no answer5.0 %  score -1.000",
    ]
    browser.evaluate("document.querySelectorAll('.answers button')[1].click()")
    assert texts(browser, "mark") == texts(browser, ".headline") == ["Du Fu"]
    browser.evaluate("document.querySelectorAll('.answers button')[2].click()")
    assert not texts(browser, "mark") and texts(browser, ".headline") == ["no answer"]
    assert "2 windows" in texts(browser, "#notes")[0]


@with_browser
@pytest.mark.serving
def test_other_kinds_are_shown(page):
    browser = page("prices")
    ask(browser, text="x")
    assert texts(browser, ".headline") == ["12.35"]
    browser = page("blanks")
    ask(browser, ".bars", text="the [MASK] of [MASK]")
    assert texts(browser, "h3") == ["Blank 1"]
    assert texts(browser, ".bars li") == ["city50.0 %", "capital25.0 %"]
    browser = page("alike")
    ask(browser, "meter", text="a", other_text="seven!!")
    assert texts(browser, ".headline") == [f"{8 / (2 * 50) ** 0.5:.4f}"]
    browser = page("choices")
    ask(browser, ".bars", text="t", question="q", choices="one\n\nthree")
    assert texts(browser, ".bars li") == ["three62.5 %", "one37.5 %"]
    browser = page("numbers")
    ask(browser, "#answer pre", text="t")
    assert json.loads(texts(browser, "#answer pre")[0]) == {"something": 0.5, "other": [1, 2]}


@with_browser
@pytest.mark.serving
def test_attention_is_a_map_of_the_real_tokens(page):
    browser = page("looking")
    assert texts(browser, "form label") == ["Text", "Second text"]
    browser.type("#field-text", "new york")
    browser.press("Enter", 13, modifiers=CONTROL)
    browser.wait("document.querySelector('.map tbody td')")
    assert texts(browser, ".map th[scope=col]") == texts(browser, ".map th[scope=row]") == TOKENS[:4]
    assert len(texts(browser, ".map tbody td")) == 16
    assert texts(browser, "#layer option") == ["1", "2", "3"]
    assert texts(browser, "#head option") == ["mean of all", "1", "2"]
    assert browser.evaluate("layer.value + head.value") == "2mean"
    cell = "document.querySelectorAll('.map tbody tr')[1].querySelectorAll('td')[2]"
    browser.evaluate(f"{cell}.dispatchEvent(new PointerEvent('pointerover', {{ bubbles: true }}))")
    mean = (ATTENTION[2][0][1][2] + ATTENTION[2][1][1][2]) / 2
    assert texts(browser, "#weight") == [f"new → york  {100 * mean:.1f} %"]
    browser.evaluate("head.value = '1'; layer.value = '0'; head.dispatchEvent(new Event('change'))")
    assert texts(browser, "#weight") == [f"new → york  {100 * ATTENTION[0][1][1][2]:.1f} %"]
    largest = max(weight for row in ATTENTION[0][1] for weight in row)
    assert float(browser.evaluate(f"{cell}.style.getPropertyValue('--weight')")) == pytest.approx(
        ATTENTION[0][1][1][2] / largest, abs=1e-4
    )
    browser.evaluate("document.querySelector('.map').focus()")
    browser.press("ArrowDown", 40)
    assert texts(browser, "#weight")[0].startswith("york → york")


@with_browser
@pytest.mark.serving
def test_errors_and_markup_are_shown_as_text(page, browser):
    page("choices")
    browser.type("#field-text", "t")
    browser.evaluate("document.getElementById('ask').click()")
    browser.wait("!document.getElementById('error').hidden")
    assert texts(browser, "#error") == ["Give one choice or more, each on a line of its own."]
    page("topics", "/versions/1")
    browser.evaluate(
        "window.real = fetch;"
        "window.fetch = path => real(path.replace('predict', 'predikt'), { method: 'POST' })"
    )
    browser.evaluate("document.getElementById('ask').click()")
    browser.wait("!document.getElementById('error').hidden")
    assert texts(browser, "#error") == [
        "Malformed request: POST /v1/models/topics/versions/1:predikt (HTTP 400)"
    ]
    network = [event["entry"] for event in browser.named("Log.entryAdded")]
    assert [entry["source"] for entry in network] == ["network"] and "400" in network[0]["text"]
    browser.events[:] = [event for event in browser.events if event["method"] != "Log.entryAdded"]
    markup = "<img src=x onerror=alert(1)><b>bold</b>" + NAMES_TEXT
    browser.evaluate("window.fetch = real")
    page("names")
    ask(browser, "mark", text=markup)
    assert texts(browser, ".text")[0].replace("PER", "").replace("LOC", "") == markup
    assert not browser.evaluate("document.querySelectorAll('#answer img, #answer b').length")


@with_browser
@pytest.mark.serving
def test_every_field_has_a_label_and_answers_are_announced(page):
    browser = page("looking")
    assert browser.evaluate(
        "[...document.querySelectorAll('textarea, select')].every(field => field.labels.length)"
    )
    assert browser.evaluate("document.getElementById('answer').ariaLive") == "polite"
    assert browser.evaluate("document.getElementById('error').role") == "alert"
    assert browser.evaluate("document.documentElement.lang") == "en"


@with_browser
@pytest.mark.serving
def test_the_policy_holds_in_the_browser(page, browser):
    page("prices")
    refused = browser.evaluate(
        "try { document.body.innerHTML = '<b>x</b>'; 'done'; } catch (error) { error.name; }"
    )
    assert refused == "TypeError"
    assert browser.evaluate("fetch('http://127.0.0.1:9/').then(() => 'done', () => 'refused')") == "refused"
    violations = [event["entry"]["text"] for event in browser.named("Log.entryAdded")]
    assert any("TrustedHTML" in text for text in violations)
    assert any("connect" in text for text in violations)
    browser.events[:] = [event for event in browser.events if event["method"] != "Log.entryAdded"]
