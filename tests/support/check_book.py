"""Check the built book as a reader meets it: `make book` runs this file after each build.

The name keeps it out of a plain `pytest`, which has no built book to look at.
"""

import functools
import json
import re
import shutil
import subprocess
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup
from sphinx_external_toc.parsing import parse_toc_yaml

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
PHONE_WIDTH = 390  # CSS pixels
BROWSER_SECONDS = 60

PAGES = list(parse_toc_yaml(ROOT / "_toc.yml"))  # in reading order, without suffixes; none is listed twice
each_page = pytest.mark.parametrize("page", PAGES)


@pytest.fixture(scope="session", autouse=True)
def built_book():
    """Stop with one sentence, rather than with one failure a page, where there is nothing to check."""
    if not (HTML / "index.html").is_file():
        pytest.exit("There is no built book in _build/html: run `make book` first.", returncode=1)


@functools.cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@functools.cache
def anchors(path: Path) -> set[str]:
    return {tag.get("id") or tag.get("name") for tag in soup(path).select("[id], [name]")}


def page_file(page: str) -> Path:
    return HTML / f"{page}.html"


def is_remote(url: str) -> bool:
    return url.startswith("//") or urlsplit(url).scheme in ("http", "https", "ws", "wss", "ftp")


def problem_with_link(path: Path, url: str) -> str | None:
    """Say what is wrong with a link on a page, or return None."""
    parts = urlsplit(url)
    if is_remote(url) or parts.scheme in ("mailto", "data", "javascript", "blob"):
        return None
    target = path.parent / unquote(parts.path) if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return f"{url}: no such file"
    if HTML not in target.resolve().parents:
        return f"{url}: leads out of the book"
    fragment = unquote(parts.fragment)
    if fragment and target.suffix == ".html" and fragment not in anchors(target.resolve()):
        return f"{url}: no such place on that page"
    return None


def test_front_page_leads_into_the_book():
    front = HTML / "index.html"
    refresh = soup(front).find("meta", attrs={"http-equiv": re.compile("refresh", re.I)})
    url = re.search(r"url=(.*)", refresh["content"], re.I)[1].strip("'\" ") if refresh else f"{PAGES[0]}.html"
    assert (front.parent / url).resolve() == page_file(PAGES[0])


@each_page
def test_page_has_text_and_no_cell_failed(page):
    document = soup(page_file(page))
    assert len(document.find("article").get_text(strip=True)) > 100, "the page is empty"
    assert not document.select(".output.traceback")
    assert "Traceback (most recent call last)" not in document.get_text()


@each_page
def test_links_lead_somewhere(page):
    path = page_file(page)
    urls = {tag.get("href", tag.get("src")) for tag in soup(path).select("a[href], link[href], [src]")}
    wrong = [problem for url in sorted(urls) if (problem := problem_with_link(path, url))]
    assert not wrong, "\n".join(wrong)


@each_page
def test_nothing_is_fetched_from_elsewhere(page):
    tags = soup(page_file(page)).select("[src], link[href], object[data]")  # a plain link may lead anywhere
    remote = [str(tag)[:200] for tag in tags if any(is_remote(tag.get(name, "")) for name in ("src", "href", "data"))]
    assert not remote, "\n".join(remote)


def test_style_sheets_fetch_nothing_from_elsewhere():
    pattern = re.compile(r"""(?:url\(|@import\s*)\s*["']?(?:https?:)?//""")
    assert not [str(css) for css in HTML.rglob("*.css") if pattern.search(css.read_text(encoding="utf-8"))]


@each_page
def test_every_figure_of_the_source_is_there(page):
    """A cell that shows nothing leaves no trace of its figure, caption included."""
    source = (ROOT / page).with_suffix(".md")
    text = source.read_text(encoding="utf-8") if source.is_file() else ""
    wanted = set(re.findall(r"^:(?: +)?name: (fig-[\w-]+)$", text, re.MULTILINE))
    shown = {figure.get("id") for figure in soup(page_file(page)).find_all("figure") if figure.find("img")}
    assert wanted <= shown, f"not shown: {', '.join(sorted(wanted - shown))}"


@each_page
def test_figures_are_numbered_captioned_and_described(page):
    wrong = []
    for figure in soup(page_file(page)).find_all("figure"):
        name = figure.get("id") or str(figure)[:80]
        if not figure.select("figcaption .caption-number ~ .caption-text"):
            wrong.append(f"{name}: no caption with a number")
        for image in figure.find_all("img"):
            text = (image.get("alt") or "").strip()
            # Without a description docutils writes the file's name there, which helps nobody.
            if not text or re.search(r"\.(svg|png|jpe?g|gif|webp)$", text):
                wrong.append(f"{name}: its picture has no alt text")
    assert not wrong, "\n".join(wrong)


@each_page
def test_every_figure_says_how_it_was_made(page):
    """A fold stands between each figure or captioned table of a chapter and the next one."""
    if not page.startswith("book/"):
        return  # an executed notebook is itself how its figures were made
    folds = "details.made, .made details, details:has(.made)"
    marks = soup(page_file(page)).find("article").select(f"figure, table:has(> caption), {folds}")
    kinds = ["fold" if mark.name == "details" else "figure" for mark in marks]
    missing = [i for i, kind in enumerate(kinds) if kind == "figure" and kinds[i + 1 : i + 2] != ["fold"]]
    assert not missing, [str(marks[i])[:120] for i in missing]


@each_page
def test_page_that_runs_code_can_be_had_as_a_notebook(page):
    path = page_file(page)
    source = (ROOT / page).with_suffix(".md")
    runs = not source.is_file() or "{code-cell}" in source.read_text(encoding="utf-8")
    notebooks = [path.parent / unquote(tag["href"]) for tag in soup(path).select("a[href$='.ipynb']")]
    assert bool(notebooks) == runs
    for notebook in notebooks:
        cells = nbformat.read(notebook, as_version=4).cells
        assert any(cell.cell_type == "code" for cell in cells)
        if source.is_file():
            assert not [cell for cell in cells if cell.get("outputs")]


def test_mathjax_comes_with_the_book():
    script = HTML / "_static" / "mathjax" / "tex-mml-chtml.js"
    assert script.stat().st_size > 1_000_000
    assert list((script.parent / "output" / "chtml" / "fonts" / "woff-v2").glob("*.woff"))
    assert (script.parent / "LICENSE").is_file()


# ---- in a browser ----

# Opens the pages one after another in a frame as wide as a phone, and reports what a reader sees there.
HARNESS = """<!doctype html><meta charset="utf-8"><script>
const pages = PAGES, width = WIDTH, reports = {};
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const scrolls = (element) => {
  for (let e = element.parentElement; e && e.tagName !== "BODY"; e = e.parentElement)
    if (getComputedStyle(e).overflowX !== "visible") return true;
  return false;
};
async function look(page) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width:${width}px;height:2000px;border:0`;
  frame.src = `/${page}.html`;
  const loaded = new Promise((done) => { frame.onload = done; });
  document.body.append(frame);
  await loaded;
  const view = frame.contentWindow, doc = view.document;
  const sources = doc.querySelectorAll("article .math");
  const mathjax = doc.querySelector("script[src*='mathjax']");
  for (let i = 0; mathjax && i < 100 && !view.MathJax?.startup?.promise; i++) await pause(50);
  await view.MathJax?.startup?.promise;
  await pause(50);
  const root = doc.documentElement;
  const wide = root.scrollWidth <= width ? [] : [...doc.querySelectorAll("main *")]
    .filter((e) => e.getBoundingClientRect().right > width + 1 && !scrolls(e))
    .map((e) => `<${e.tagName.toLowerCase()} class="${e.getAttribute("class") || ""}">`).slice(0, 5);
  reports[page] = {
    math: sources.length,
    unset: [...sources].filter((e) => !e.querySelector("mjx-container")).length,
    // MathJax writes a command that it does not know in red.
    mathErrors: [...doc.querySelectorAll("mjx-merror, [data-mjx-error], mjx-mtext[style*='red']")]
      .map((e) => e.getAttribute("data-mjx-error") || e.outerHTML.slice(0, 80)),
    pictures: [...doc.images].filter((e) => e.complete && !e.naturalWidth).map((e) => e.getAttribute("src")),
    scrollWidth: root.scrollWidth, wide,
    troubles: view.troubles,
    elsewhere: view.performance.getEntriesByType("resource").map((e) => e.name)
      .filter((name) => !name.startsWith(location.origin) && !/^(data|blob):/.test(name)),
  };
  frame.remove();
}
window.onload = async () => {
  for (const page of pages) {
    try { await look(page); } catch (error) { reports[page] = { failed: String(error) }; }
  }
  await fetch("/report", { method: "POST", body: JSON.stringify(reports) });
};
</script><body style="margin:0"></body>"""


# Put before all scripts of a page: keeps what a reader would find in red in the browser's console.
WITNESS = """<script>window.troubles = [];
addEventListener("error", (e) => troubles.push(e.message || `${e.target.src || e.target.href} did not load`), true);
addEventListener("unhandledrejection", (e) => troubles.push(String(e.reason)));
console.error = (...words) => troubles.push(words.join(" "));
</script>"""


class BookServer(SimpleHTTPRequestHandler):
    """Serves the book and the harness, takes the harness's report, and notes what was asked for in vain."""

    def do_GET(self):
        page = Path(self.translate_path(self.path))
        if self.path == "/harness":
            text = HARNESS.replace("PAGES", json.dumps(PAGES), 1).replace("WIDTH", str(PHONE_WIDTH), 1)
        elif page.suffix == ".html" and page.is_file():
            text = re.sub(r"<head>", lambda head: head[0] + WITNESS, page.read_text(encoding="utf-8"), count=1)
        else:
            return super().do_GET()
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.server.report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        self.server.reported.set()

    def send_error(self, code, message=None, explain=None):
        self.server.missing.append(self.path)
        super().send_error(code, message, explain)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def browser():
    """Open every page in a headless browser once; return its report and what it asked for in vain."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("no chromium on this machine")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(BookServer, directory=str(HTML)))
    server.reported, server.report, server.missing = threading.Event(), None, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        command += ["--disable-dev-shm-usage", "--remote-debugging-port=0", "--window-size=1400,2200"]
        # Nothing but the server above may be reached, so a page that needs more shows it.
        command += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--user-data-dir={profile}"]
        command.append(f"http://127.0.0.1:{server.server_port}/harness")
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            done = server.reported.wait(BROWSER_SECONDS)
        finally:
            process.terminate()
            process.wait(10)
            server.shutdown()
            server.server_close()
    if not done:
        pytest.fail(f"{program} did not report on the book within {BROWSER_SECONDS} seconds.")
    return server


@each_page
def test_page_looks_right_on_a_phone(page, browser):
    seen = browser.report[page]
    assert "failed" not in seen, seen["failed"]
    assert seen["unset"] == 0, f"{seen['unset']} of {seen['math']} formulas are not typeset"
    assert not seen["mathErrors"], seen["mathErrors"]
    assert seen["scrollWidth"] <= PHONE_WIDTH, f"{seen['scrollWidth']} px wide because of {seen['wide']}"
    assert not seen["pictures"], f"not shown: {seen['pictures']}"
    assert not seen["elsewhere"], f"asked somebody else: {seen['elsewhere']}"
    assert not seen["troubles"], f"in the console: {seen['troubles']}"


def test_browser_finds_all_it_asks_for(browser):
    assert not [path for path in browser.missing if path != "/favicon.ico"]
