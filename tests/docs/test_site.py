"""The site builds without a warning, has every page in its menu, and asks nothing of any other host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}
ELSEWHERE = re.compile(r"(?:[a-z]+:)?//", re.IGNORECASE)


class Loads(HTMLParser):
    """What a browser fetches for a page by itself: not what people may follow."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag in LOADING and given.get("rel") != "canonical":
            self.found.append(given.get(LOADING[tag]) or "")
        if "mermaid" in (given.get("class") or "").split():  # the theme would fetch a library for it
            self.found.append("//mermaid")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    # With --quiet, warnings would not count.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    ran = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "WARNING" not in ran.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert len(pages) > 20
    assert {path for path in pages if not (site / path).is_file()} == set()


def test_nothing_comes_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    loads = {(page.name, load) for page in pages for load in Loads(page.read_text(encoding="utf-8")).found}
    assert len(loads) > len(pages)
    assert {load for load in loads if ELSEWHERE.match(load[1])} == set()
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.findall(r"(?:url\(|@import)\s*[\"']?(?:[a-z]+:)?//", styles)


def test_the_public_api_has_its_docstrings(site: Path) -> None:
    page = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in ("create_model", "export", "verify", "profile"):
        assert re.search(rf'<h2 id="mobilevit_tools\.[\w.]*\.{name}"', page)
    assert not re.search(r":[a-z]+:<code>", page)
    assert "An artifact does not compute the model" in page
