"""What the book's pages show of the artifact: claims with their numbers, how a figure was made, notebooks to download.

``{claim}`di-gap` `` writes a claim of ``book/claims.yml`` with its numbers put in and a link to the page of all claims;
``{claims}`` makes that page, ``{promises}`` the tables of what was announced. ``{made} fig1_methods`` writes a fold
below a figure or table: the command, the notebook, the commit of its inputs. Each page that runs code gets a link to
an ``.ipynb`` twin.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jupytext
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.typing import ExtensionMetadata

from trc.claims import VERDICTS, Claim, read_claims, read_promises
from trc.figures import read_index
from trc.results import read_manifest
from trc.tables import markdown

ROOT = Path(__file__).resolve().parents[2]

#: The page that lists every claim.
CLAIMS_PAGE = "book/claims"


def claims() -> dict[str, Claim]:
    """The claims by their id."""
    return {claim.id: claim for claim in read_claims(ROOT)[0]}


class ClaimRole(SphinxRole):
    """A claim's sentence; the mark behind it leads to the list of claims."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            claim = claims().get(self.text)
            if claim is None or claim.page != self.env.docname:
                raise ValueError("no claim of book/claims.yml for this page")
            if wrong := claim.wrong(ROOT):
                raise ValueError(f"it does not hold: {wrong}")
        except (ValueError, OSError) as error:
            return [], [self.inliner.reporter.error(f"claim {self.text!r}: {error}", line=self.lineno)]
        page = self.env.app.builder.get_relative_uri(self.env.docname, CLAIMS_PAGE)
        mark = nodes.reference("", "✓", refuri=f"{page}#claim-{claim.id}", internal=True, classes=["claim-mark"])
        mark["reftitle"] = "checked by make verify"
        return [nodes.inline("", claim.sentence(ROOT), classes=["claim"]), mark], []


class Markup(SphinxDirective):
    """A directive that writes MyST text."""

    def parse(self, lines: list[str]) -> list[nodes.Node]:
        """The nodes of some lines of MyST."""
        container = nodes.container()
        self.state.nested_parse(StringList(lines, source=self.env.doc2path(self.env.docname)), 0, container)
        return container.children


class ClaimList(Markup):
    """All claims, page by page, each with its expression."""

    def run(self) -> list[nodes.Node]:
        """Write the list."""
        found, checkpoints = read_claims(ROOT)
        lines = []
        for page in dict.fromkeys(one.page for one in [*found, *checkpoints]):
            lines += [f"**{{doc}}`/{page}`**", ""]
            for claim in found:
                if claim.page == page:
                    values = ", ".join(f"`{name}` {n.text(n.value(ROOT))}" for name, n in claim.numbers.items())
                    tables = ", ".join(f"`results/{t}.csv`" for t in sorted({n.table for n in claim.numbers.values()}))
                    lines += [
                        f"- [{claim.sentence(ROOT)}]{{#claim-{claim.id}}}",
                        f"  Holds if `{claim.holds}`; {values}. From {tables}.",
                    ]
            for checkpoint in checkpoints:
                if checkpoint.page == page:
                    metrics = ", ".join(f"{metric} ± {limit:g}" for metric, limit in checkpoint.tolerance.items())
                    lines.append(
                        f"- `{checkpoint.file}`, evaluated again, gives the numbers of "
                        f"`results/{checkpoint.table}.csv` for *{checkpoint.row}*: {metrics}."
                    )
            lines.append("")
        return self.parse(lines)


class PromiseTables(Markup):
    """What was announced beside what was measured, a table for each document."""

    def run(self) -> list[nodes.Node]:
        """Write the tables."""
        promises = read_promises(ROOT)
        if wrong := [f"{one.id}: {reason}" for one in promises if (reason := one.wrong(ROOT))]:
            raise self.error(f"book/promises.yml: {wrong[0]}")
        lines = []
        for source in dict.fromkeys(one.source for one in promises):
            rows = [
                [one.text, one.finding(ROOT), f"[{VERDICTS[one.verdict]}]{{.verdict-{one.verdict}}}"]
                for one in promises
                if one.source == source
            ]
            lines += [f"**{source}**", "", *markdown(["it says", "measured", "verdict"], rows, left=3).splitlines(), ""]
        return self.parse(lines)


class Made(Markup):
    """A fold that says how a figure or a table was made."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Write the fold: of a figure or table of the paper, or of one that the page makes itself."""
        if self.arguments:
            (name,) = self.arguments
            lines = self._of_the_paper(name)
        else:
            name, lines = "figure", ["Made by this page's code when the book was built: `make book`."]
        title = f"How this {'table' if name.startswith('table') else 'figure'} was made"
        return self.parse([":::{dropdown} " + title, ":class-container: made", "", *lines, ":::"])

    def _of_the_paper(self, name: str) -> list[str]:
        entry = {entry.name: entry for entry in read_index(ROOT)}.get(name)
        if entry is None or entry.page != self.env.docname:
            raise self.error(f"figures/index.yml has no {name} for this page.")
        try:
            record = json.loads((ROOT / "figures" / f"{name}.json").read_text())
            record["command"], record["function"]
        except (OSError, ValueError, KeyError, TypeError):
            raise self.error(f"figures/{name}.json is missing or damaged: run `make figures`.") from None
        lines = [f"Drawn by `{record['command']}`" if name.startswith("fig") else f"Written by `{record['command']}`"]
        lines[0] += f", with `{record['function']}`."
        if entry.experiment is not None:
            lines += self._results(entry.experiment)
        files = sorted(p.name for p in (ROOT / "figures").glob(f"{name}.*"))
        return [*lines, "", "Files: " + ", ".join(f"{{download}}`{p} <../figures/{p}>`" for p in files) + "."]

    def _results(self, experiment: str) -> list[str]:
        run = read_manifest(experiment, ROOT)["run"]
        commit = f"commit `{run['commit'][:10]}`" if run["commit"] else "a tree without commits"
        notebook = f"results/{experiment}/{experiment}"
        made = ""
        if (ROOT / f"{notebook}.ipynb").is_file():
            made = f" by `make experiments PRESET=paper ONLY={experiment}` in the notebook {{doc}}`/{notebook}`,"
        return [f"Its numbers are those of `results/{experiment}/`, made{made} at {commit}, on {run['processor']}."]


def add_twin(app: Sphinx, pagename: str, _template: str, context: dict[str, Any], _doctree: nodes.document) -> None:
    """Put an ``.ipynb`` twin of a page that runs code beside its source, where the theme links to it."""
    source = Path(app.srcdir) / f"{pagename}.md"
    if not source.is_file() or "{code-cell}" not in source.read_text():
        return
    twin = Path(app.outdir) / "_sources" / f"{pagename}.ipynb"
    twin.parent.mkdir(parents=True, exist_ok=True)
    notebook = jupytext.read(source)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # random otherwise
    jupytext.write(notebook, twin, fmt="ipynb")
    context["ipynb_source"] = f"{pagename}.ipynb"


def drop_thebe(_app: Sphinx, _page: str, _template: str, context: dict[str, Any], _doctree: nodes.document) -> None:
    """Leave out the scripts of live cells: they are off, would load code from elsewhere, and declare a name twice."""
    for kind in ("script_files", "css_files"):
        files = context.get(kind, [])
        context[kind] = [file for file in files if "thebe" not in f"{file.filename}{file.attributes}".lower()]


def read_in_parallel(app: Sphinx) -> None:
    """Read pages, each of which waits for a kernel of its own, several at a time.

    Two of the book's extensions don't say whether they allow that: one works when all pages have been read, the other
    for LaTeX alone.
    """
    app.parallel = max(app.parallel, 6)
    for name in ("sphinx_multitoc_numbering", "sphinx_jupyterbook_latex"):
        app.extensions[name].parallel_read_safe = True


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register it all."""
    app.add_role("claim", ClaimRole())
    app.add_directive("claims", ClaimList)
    app.add_directive("promises", PromiseTables)
    app.add_directive("made", Made)
    app.connect("builder-inited", read_in_parallel)
    app.connect("html-page-context", add_twin, priority=100)
    app.connect("html-page-context", drop_thebe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
