"""The site as a reader meets it: every page opened in a browser, offline.

Without PRECISE_SITE the site is built here from notebooks at smoke scale; with it, that one is checked.
"""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import citation
import pytest
import verdict
import yaml

from tests.helpers import ROOT, SHOWN


def toc_pages() -> list[str]:
    """Every page of the table of contents, without suffix."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [toc["root"], *chapters]


AXE = ROOT / "tests" / "vendor" / "axe-core" / "axe.min.js"
CITATION = citation.read(ROOT)
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
    bare: [...article.querySelectorAll(".cell_output img")]
      .filter((i) => !i.closest(".jupyter-widgets") && !i.closest("figure")?.querySelector("figcaption .caption-number"))
      .map((i) => i.src.slice(-60)),
    links: [...document.querySelectorAll("a[href]")].map((a) => a.href),
    views: document.querySelectorAll('script[type="application/vnd.jupyter.widget-view+json"]').length,
    widgets: [...document.querySelectorAll(".cell_output .jupyter-widgets")].filter((w) => !w.parentElement.closest(".jupyter-widgets")).length,
  };
}"""  # noqa: E501


class Visit:
    """One page opened in the browser, with every request, error and foreign address noted."""

    def __init__(self, browser, address: str, name: str):
        self.name, self.address, self.foreign, self.errors, self.missing = name, address, [], [], []
        self.context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
        self.page = self.context.new_page()
        self.page.route("**/*", self._request)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("response", lambda r: self.missing.append(r.url) if r.status >= 400 else None)
        self.page.goto(f"{address}/{name}", wait_until="load")
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

    def theme(self, name: str) -> None:
        """Show the page light or dark, as its own button does."""
        self.page.evaluate("(name) => { document.documentElement.dataset.theme = name; }", name)
        self.page.wait_for_timeout(200)

    def close(self):
        self.context.close()


@pytest.fixture(scope="module")
def visit(request, browser, address):
    """The page that a test asks for; all tests of one page share one visit, in the order of this file."""
    visit = Visit(browser, address, request.param)
    yield visit
    visit.close()


def each(pages: list[str]):
    """Run a test on every one of these pages."""
    return pytest.mark.parametrize("visit", pages, indirect=True)


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


@each(PAGES + EXTRA)
def test_page_in_the_browser(visit, address, site):
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
    assert not seen["bare"], "a figure without number and caption"
    assert seen["widgets"] >= seen["views"], "a widget that did not appear"


# Examines the page with axe-core. Contrast takes most of the time, so of texts that stand in the same kind of place
# (the same tags and classes four levels up) three are looked at; every other rule looks at the whole page.
EXAMINE = """async (contrast) => {
  let where = document;
  if (contrast) {
    const seen = {}, kept = [];
    for (const element of document.querySelectorAll("body *")) {
      if (![...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
      let kind = "";
      for (let up = element, level = 0; up && level < 4; up = up.parentElement, level++)
        kind += `${up.tagName}.${up.getAttribute("class")} `;
      seen[kind] = (seen[kind] || 0) + 1;
      if (seen[kind] <= 3) kept.push(element);
    }
    where = { include: kept };
  }
  const rules = contrast ? { runOnly: ["color-contrast"] } : { rules: { "color-contrast": { enabled: false } } };
  const { violations } = await axe.run(where, { resultTypes: ["violations"], preload: false, ...rules });
  return violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.target.join(" ")}: ${n.failureSummary}`));
}"""


@each(PAGES + EXTRA)
def test_nothing_bars_a_reader(visit):
    """Names, roles, landmarks, keyboard (axe-core, every rule that is on by default), and contrast in both modes."""
    visit.page.evaluate(AXE.read_text(encoding="utf-8"))
    assert not visit.page.evaluate(EXAMINE, False)
    for theme in ("light", "dark"):
        visit.theme(theme)
        assert not visit.page.evaluate(EXAMINE, True), theme
    visit.theme("light")


def test_a_barrier_is_seen(browser):
    page = browser.new_page()
    page.set_content("<html lang=en><title>x</title><main><h1>x</h1><img src=''><p style='color: #bbb'>pale</p></main>")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert [found.partition(":")[0] for found in page.evaluate(EXAMINE, False)] == ["image-alt"]
    assert [found.partition(":")[0] for found in page.evaluate(EXAMINE, True)] == ["color-contrast"]
    page.close()


@each(["book/index.html", "book/theory.html", "notebooks/06_lambda_tradeoff.html"])
def test_paper_is_white(visit):
    """What is printed while the screen is dark has dark letters all the same, and the screen stays dark after it."""
    visit.theme("dark")
    visit.page.emulate_media(media="print")
    visit.page.wait_for_function("document.documentElement.dataset.theme === 'light'")
    printed = visit.page.evaluate("getComputedStyle(document.querySelector('article p')).color")
    visit.page.emulate_media(media="screen")
    visit.page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    assert max(int(channel) for channel in re.findall(r"\d+", printed)[:3]) < 100
    visit.theme("light")


# noise on one spectrum, noise on the phantom, lambda, denoised against truth
WITH_SLIDER = {"01_signal_and_phantom", "03_sve_vs_fourier", "06_lambda_tradeoff", "17_denoising_unets"}


@each([page for page in PAGES if page.startswith("notebooks/")])
def test_every_slider_changes_the_picture(visit):
    handles = visit.page.locator(".jupyter-widgets .noUi-handle")
    assert handles.count() or Path(visit.name).stem not in WITH_SLIDER
    for number in range(handles.count()):
        before = visit.page.evaluate(SHOWN)
        handle = handles.nth(number)
        at_end = handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
        handle.press("ArrowLeft" if at_end else "ArrowRight")
        visit.page.wait_for_timeout(300)
        assert visit.page.evaluate(SHOWN) != before, f"slider {number + 1} changes nothing"
    assert not visit.errors


@each(PAGES)
def test_page_offers_how_to_cite_it(visit):
    """The title of the page, the version and the date, as text and as BibTeX."""
    visit.page.locator(".cite-this-page summary").click()
    said = visit.page.locator(".cite-this-page").inner_text()
    title = visit.page.locator("h1").last.evaluate("(h) => [...h.childNodes].find((n) => n.nodeType === 3).data.trim()")
    assert f" {title}. In: {CITATION['title']}, version {CITATION['version']}, " in " ".join(said.split())
    assert re.search(r"@incollection\{precise-[\w-]+,\n", said)
    assert "{{" not in said


STUDIES = [page for page in PAGES if re.match(r"notebooks/\d", page)]


@pytest.mark.parametrize("page", STUDIES)
def test_a_page_shows_the_number_of_its_file(site, page):
    shown = re.search(r'<h1><span class="section-number">(\d+)\. </span>', (site / page).read_text(encoding="utf-8"))
    assert int(shown[1]) == int(Path(page).name[:2])


@each(STUDIES)
def test_code_fits_a_desk(visit):
    """Lines of 110 characters, which is what a notebook may have, without scrolling."""
    visit.page.set_viewport_size({"width": 1400, "height": 900})
    visit.page.wait_for_timeout(200)
    wide = "[...document.querySelectorAll('.cell_input pre')].map((e) => e.scrollWidth - e.clientWidth)"
    assert max(visit.page.evaluate(wide)) <= 1


@each(PAGES)
def test_page_fits_a_phone(visit):
    visit.page.set_viewport_size({"width": 390, "height": 844})
    visit.page.wait_for_timeout(200)
    wide = visit.page.evaluate("document.scrollingElement.scrollWidth - window.innerWidth")
    assert wide <= 1, f"the page scrolls {wide} pixels sideways"


@each(["book/status.html"])
def test_status_page_names_every_notebook_and_network(visit):
    text = visit.page.locator("article").inner_text()
    notebooks = [Path(page).stem for page in PAGES if page.startswith("notebooks/")]
    networks = [card.stem for card in (ROOT / "data" / "weights").rglob("*.json")]
    assert not [name for name in [*notebooks, *networks] if name not in text]
    assert "not as on its card" not in text


@each(["book/index.html"])
def test_landing_page_has_every_point_of_the_verdict(visit):
    text = visit.page.locator("article").inner_text()
    assert not [head for head, _, _ in verdict.POINTS if head not in text]
