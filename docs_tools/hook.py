"""Hooks of MkDocs: pages and notebooks from outside of docs/, formulas without JavaScript, and llms.txt."""

from __future__ import annotations

import html
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # MkDocs imports this file by its path

from docs_tools.notebooks import FOLDER, TITLES, as_markdown  # noqa: E402

NOTEBOOKS = FOLDER.relative_to(ROOT).as_posix()
MOUNTED = ("CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md", "experiments/README.md")
"""Pages of the repository that are pages of the site as well."""
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\s*\\[(\[](.*?)\\[)\]]\s*</\1>', re.DOTALL)
_FENCE = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the mounted pages, and every file of the repository that a page links to."""
    for path in MOUNTED:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    for name in TITLES:
        files.append(File.generated(config, f"{NOTEBOOKS}/{name}.ipynb", abs_src_path=str(FOLDER / f"{name}.ipynb")))
        files.append(File.generated(config, f"{NOTEBOOKS}/{name}.md", content=as_markdown(FOLDER / f"{name}.ipynb")))
    for page in [file for file in files.documentation_pages() if not file.inclusion.is_excluded()]:
        for target in _repository_links(page.src_uri, page.content_string):
            if not target.startswith("docs/") and (ROOT / target).is_file() and target not in files.src_uris:
                files.append(File.generated(config, target, abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Point links between docs/ and the rest of the repository to where the site holds their targets."""
    here = os.path.dirname(page.file.src_uri)

    def rewrite(match: re.Match[str]) -> str:
        target, mark, anchor = match[2].partition("#")
        if not _is_relative(match[2]):
            return match[0]
        site = _repository_path(page.file.src_uri, target).removeprefix("docs/")
        if site.endswith(".ipynb") and site != page.file.src_uri.replace(".md", ".ipynb"):
            site = site.replace(".ipynb", ".md")  # a notebook's page; only that page links to the file
        return f"{match[1]}{os.path.relpath(site, here or '.')}{mark}{anchor}{match[3]}"

    return _outside_fences(markdown, lambda text: _LINK.sub(rewrite, text))


def on_page_content(html_text: str, **_: Any) -> str:
    """Write formulas as MathML, which browsers show without a script."""
    return _FORMULA.sub(
        lambda match: convert(html.unescape(match[2]), display="block" if match[1] == "div" else "inline"), html_text
    )


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> None:
    """Keep the navigation: llms.txt follows it."""
    config.extra["navigation"] = nav


def on_post_build(config: MkDocsConfig) -> None:
    """
    Write llms.txt (https://llmstxt.org), the map of the site for language models, and the pages as Markdown beside it.
    """
    site = Path(config.site_dir)
    lines = [f"# {config.site_name}", "", f"> {config.site_description}"]
    for section in config.extra["navigation"].items:
        lines += ["", f"## {section.title}", ""]
        for page in _pages(section):
            name = page.file.src_uri
            (site / name).parent.mkdir(parents=True, exist_ok=True)
            (site / name).write_text(page.markdown or "", encoding="utf-8")
            summary = first_sentence(page.markdown or "")
            lines.append(f"- [{page.title}]({name})" + (f": {summary}" if summary else ""))
    (site / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def first_sentence(markdown: str) -> str:
    """The first sentence of a page, without links and emphasis."""
    for block in _FENCE.sub("", markdown).split("\n\n"):
        text = " ".join(block.split())
        if text and not text.startswith(("#", "|", "!", "<", "-", ":", "**")):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("**", "").replace("*", "")
            return re.split(r"(?<=[.?!:]) (?=[A-Z`\"])", text, maxsplit=1)[0].rstrip(":")
    return ""


def _pages(item: Any) -> Iterator[Page]:
    if isinstance(item, Page):
        yield item
    for child in item.children or ():
        yield from _pages(child)


def _repository_links(src_uri: str, markdown: str) -> list[str]:
    targets = [match[2].partition("#")[0] for match in _LINK.finditer(_FENCE.sub("", markdown))]
    return [_repository_path(src_uri, target) for target in targets if target and _is_relative(target)]


def _repository_path(src_uri: str, target: str) -> str:
    """The path in the repository that a link of a page names."""
    page = src_uri if src_uri in MOUNTED or src_uri.startswith(NOTEBOOKS) else f"docs/{src_uri}"
    return os.path.normpath(os.path.join(os.path.dirname(page), target)).replace(os.sep, "/")


def _is_relative(target: str) -> bool:
    return not re.match(r"[a-z][a-z+.-]*:|#|/", target)


def _outside_fences(markdown: str, change: Any) -> str:
    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [change(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(markdown[end:])])
