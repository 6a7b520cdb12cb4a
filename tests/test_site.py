"""The site as a reader meets it: every page opened in a browser, offline.

Without PRECISE_SITE the site is built here from notebooks at smoke scale; with it, that one is checked.
"""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from conftest import ROOT


def toc_pages() -> list[str]:
    """Every page of the table of contents, without suffix."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [toc["root"], *chapters]


PAGES = [f"{page}.html" for page in toc_pages()]
EXTRA = ["index.html", "search.html", "genindex.html"]

# Waits for equations and widgets, then reports what a reader would see of the page.
INSPECT = r"""async () => {
  await window.MathJax?.startup?.promise;
  const article = document.querySelector("article") || document.body;
  const shown = [...document.images].filter((i) => i.checkVisibility());
  await Promise.allSettled(shown.map((i) => i.decode()));
  const prose = [];
  const walker = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    if (!walker.currentNode.parentElement.closest("pre, code, script, style, mjx-container"))
      prose.push(walker.currentNode.data);
  }
  return {
    text: prose.join(" "),
    rawMath: [...document.querySelectorAll(".math")].filter((m) => !m.querySelector("mjx-container")).map((m) => m.textContent),
    badMath: [...document.querySelectorAll("mjx-merror")].map((m) => m.dataset.mjxError || m.textContent),
    brokenImages: shown.filter((i) => !i.naturalWidth).map((i) => i.src),
    unnamed: [...article.querySelectorAll("img")].map((i) => [i.alt || i.title || i.getAttribute("aria-label") || "", i.src.slice(0, 80)]),
    links: [...document.querySelectorAll("a[href]")].map((a) => a.href),
    views: document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]').length,
    widgets: [...document.querySelectorAll(".cell_output .jupyter-widgets")].filter((w) => !w.parentElement.closest(".jupyter-widgets")).length,
  };
}"""  # noqa: E501


class Visit:
    """One page opened in the browser, with every request, error and foreign address noted."""

    def __init__(self, browser, address: str, page: str, **options):
        self.address, self.foreign, self.errors, self.missing = address, [], [], []
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.route("**/*", self._request)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("response", lambda r: self.missing.append(r.url) if r.status >= 400 else None)
        self.page.goto(f"{address}/{page}", wait_until="load")
        self.page.wait_for_selector("main")  # index.html first leads to the landing page
        views = 'script[type="application/vnd.jupyter.widget-view+json"]'
        if self.page.locator(views).count():
            self.page.wait_for_selector(".jupyter-widgets", state="attached")
        self.page.wait_for_timeout(300)

    def _request(self, route):
        if route.request.url.startswith((self.address, "data:", "blob:")):
            return route.continue_()
        self.foreign.append(route.request.url)
        return route.abort()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()


@cache
def anchors(path: Path) -> set[str]:
    """Every id of a page."""
    return set(re.findall(r"""\s(?:id|name)=["']([^"']+)["']""", path.read_text(encoding="utf-8")))


def dead_links(links: list[str], address: str, site: Path) -> list[str]:
    """Links within the site whose page, or whose place on the page, does not exist."""
    dead = []
    for link in sorted(set(links)):
        parts = urlsplit(link)
        if not link.startswith(address):
            continue
        target = site / unquote(parts.path).lstrip("/")
        target = target / "index.html" if target.is_dir() else target
        place = unquote(parts.fragment)
        wanted = place and target.suffix == ".html" and place != "top"
        if not target.is_file() or (wanted and place not in anchors(target)):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", PAGES)
def test_every_page_of_the_contents_exists(site, page):
    assert (site / page).is_file()


@pytest.mark.parametrize("page", PAGES)
def test_no_table_is_left_as_text(site, page):
    """A paragraph that begins with a pipe is a Markdown table that nobody parsed."""
    assert "<p>|" not in (site / page).read_text(encoding="utf-8")


def test_links_find_what_is_dead(tmp_path):
    (tmp_path / "a.html").write_text('<h1 id="here">')
    links = ["http://x/a.html#here", "http://x/a.html#gone", "http://x/b.html", "https://elsewhere/c"]
    assert dead_links(links, "http://x", tmp_path) == ["http://x/a.html#gone", "http://x/b.html"]


@pytest.mark.parametrize("page", PAGES + EXTRA)
def test_page_in_the_browser(browser, address, site, page):
    with Visit(browser, address, page) as visit:
        seen = visit.page.evaluate(INSPECT)
        assert not visit.foreign, "requests to another host"
        assert not visit.missing, "files that the page asks for and the site does not have"
        assert not visit.errors, "errors in the browser's console"
    assert not dead_links(seen["links"], address, site)
    assert not seen["brokenImages"]
    assert not seen["rawMath"], "TeX that was not typeset"
    assert not seen["badMath"], "TeX that MathJax cannot read"
    assert not re.findall(r"\\(?:[a-zA-Z]{2,}|\(|\[)\S*|\$\$", seen["text"]), "raw TeX in the text"
    # Sphinx falls back to the file name where a picture has no description; in a widget use
    # ipywidgets.HTML with <img alt="...">, because ipywidgets.Image cannot carry one.
    assert not [src for alt, src in seen["unnamed"] if not alt.strip() or "_images/" in alt], "no alt text"
    assert seen["widgets"] >= seen["views"], "a widget that did not appear"


@pytest.mark.parametrize("page", PAGES)
def test_page_fits_a_phone(browser, address, page):
    with Visit(browser, address, page, viewport={"width": 390, "height": 844}) as visit:
        wide = visit.page.evaluate("document.scrollingElement.scrollWidth - window.innerWidth")
        assert wide <= 1, f"the page scrolls {wide} pixels sideways"


SHOWN = """() => [...document.querySelectorAll('.jupyter-widgets img, .jupyter-widgets canvas')]
  .filter((e) => e.checkVisibility()).map((e) => e.src || e.toDataURL())"""


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("notebooks/")])
def test_every_slider_changes_the_picture(browser, address, page):
    with Visit(browser, address, page) as visit:
        handles = visit.page.locator(".jupyter-widgets .noUi-handle")
        for number in range(handles.count()):
            before = visit.page.evaluate(SHOWN)
            handle = handles.nth(number)
            at_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
            handle.press("ArrowLeft" if at_end else "ArrowRight")
            visit.page.wait_for_timeout(300)
            assert visit.page.evaluate(SHOWN) != before, f"slider {number + 1} changes nothing"
        assert not visit.errors
