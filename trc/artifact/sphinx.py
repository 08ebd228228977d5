"""What the book's pages show of the artifact: claims with their numbers, how a figure was made, notebooks to download.

``{claim}`di-gap` `` writes a claim of ``book/claims.yml`` with its numbers put in and a link to the page of all claims;
``{claims}`` makes that page, ``{promises}`` the tables of what was announced. ``{made} fig1_methods`` writes a fold
below a figure or table: the command, the notebook, the commit of its inputs. Each page that runs code gets a link to
an ``.ipynb`` twin.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jupytext
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole
from sphinx.util.typing import ExtensionMetadata

from ..common.text import markdown
from .claims import VERDICTS, Checkpoint, Claim, read_claims, read_promises
from .figures import paper_entries
from .results import read_manifest

#: The page that lists every claim.
CLAIMS_PAGE = "book/claims"


@cache
def claims(root: Path) -> dict[str, Claim]:
    """The book's claims by their id, read once a build."""
    return {claim.id: claim for claim in read_claims(root)[0]}


class ClaimRole(SphinxRole):
    """A claim's sentence; the mark behind it leads to the list of claims."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Write it, or say why it may not be said here."""
        root = Path(self.env.srcdir)
        try:
            claim = claims(root).get(self.text)
            if claim is None or claim.page != self.env.docname:
                raise ValueError("no claim of book/claims.yml for this page")
            if wrong := claim.wrong(root):
                raise ValueError(f"it does not hold: {wrong}")
        except (ValueError, OSError) as error:
            return [], [self.inliner.reporter.error(f"claim {self.text!r}: {error}", line=self.lineno)]
        page = self.env.app.builder.get_relative_uri(self.env.docname, CLAIMS_PAGE)
        mark = nodes.reference("", "✓", refuri=f"{page}#claim-{claim.id}", internal=True, classes=["claim-mark"])
        mark["reftitle"] = "checked by make verify"
        return [nodes.inline("", claim.sentence(root), classes=["claim"]), mark], []


class Markup(SphinxDirective):
    """A directive whose lines are read as MyST."""

    @property
    def root(self) -> Path:
        """The project's folder."""
        return Path(self.env.srcdir)

    def run(self) -> list[nodes.Node]:
        """The nodes of its lines."""
        container = nodes.container()
        lines = StringList(self.lines(), source=self.env.doc2path(self.env.docname))
        self.state.nested_parse(lines, 0, container)
        return container.children


class ClaimList(Markup):
    """All claims, page by page, each with its expression."""

    def lines(self) -> list[str]:
        """The list."""
        found, checkpoints = read_claims(self.root)
        lines = []
        for page in dict.fromkeys(one.page for one in (*found, *checkpoints)):
            told = [self._of_claim(claim) for claim in found if claim.page == page]
            told += [self._of_checkpoint(checkpoint) for checkpoint in checkpoints if checkpoint.page == page]
            lines += [f"**{{doc}}`/{page}`**", "", *told, ""]
        return lines

    def _of_claim(self, claim: Claim) -> str:
        values = ", ".join(f"`{name}` {n.text(n.value(self.root))}" for name, n in claim.numbers.items())
        tables = ", ".join(f"`results/{table}.csv`" for table in sorted({n.table for n in claim.numbers.values()}))
        said = f"- [{claim.sentence(self.root)}]{{#claim-{claim.id}}}"
        return f"{said} Holds if `{claim.holds}`; {values}. From {tables}."

    def _of_checkpoint(self, checkpoint: Checkpoint) -> str:
        limits = ", ".join(f"{metric} ± {limit:g}" for metric, limit in checkpoint.tolerance.items())
        again = f"- `{checkpoint.file}`, evaluated again, gives the numbers of `results/{checkpoint.table}.csv`"
        return f"{again} for *{checkpoint.row}*: {limits}."


class PromiseTables(Markup):
    """What was announced beside what was measured, a table for each document."""

    def lines(self) -> list[str]:
        """The tables, unless a verdict is not borne out."""
        promises = read_promises(self.root)
        if wrong := [f"{one.id}: {reason}" for one in promises if (reason := one.wrong(self.root))]:
            raise self.error(f"book/promises.yml: {wrong[0]}")
        lines = []
        for source in dict.fromkeys(one.source for one in promises):
            rows = []
            for one in [promise for promise in promises if promise.source == source]:
                verdict = f"[{VERDICTS[one.verdict]}]{{.verdict-{one.verdict}}}"
                rows.append([one.says, one.sentence(self.root), verdict])
            lines += [f"**{source}**", "", *markdown(["it says", "measured", "verdict"], rows, left=3).splitlines(), ""]
        return lines


class Made(Markup):
    """A fold that says how a figure or a table was made: one of the paper, or one that the page makes itself."""

    optional_arguments = 1

    def lines(self) -> list[str]:
        """The fold."""
        name = self.arguments[0] if self.arguments else ""
        title = f"How this {'table' if name.startswith('table') else 'figure'} was made"
        told = self._of_the_paper(name) if name else ["Made by this page's code when the book was built: `make book`."]
        return [f":::{{dropdown}} {title}", ":class-container: made", "", *told, ":::"]

    def _of_the_paper(self, name: str) -> list[str]:
        entry = {entry.name: entry for entry in paper_entries()}.get(name)
        if entry is None or entry.page != self.env.docname:
            raise self.error(f"the paper has no {name} for this page.")
        folder = self.root / "figures"
        try:
            record = json.loads((folder / f"{name}.json").read_text("utf-8"))
            made = f"`{record['command']}`, with `{record['function']}`."
        except (OSError, ValueError, KeyError, TypeError):
            raise self.error(f"figures/{name}.json is missing or damaged: run `make figures`.") from None
        results = [self._results(entry.experiment)] if entry.experiment else []
        names = sorted(path.name for path in folder.glob(f"{name}.*"))
        files = ", ".join(f"{{download}}`{file} <../figures/{file}>`" for file in names)
        return [f"{'Drawn' if name.startswith('fig') else 'Written'} by {made}", *results, "", f"Files: {files}."]

    def _results(self, experiment: str) -> str:
        run = read_manifest(experiment, self.root)["run"]
        commit = f"commit `{run['commit'][:10]}`" if run["commit"] else "a tree without commits"
        command = f"by `make experiments PRESET=paper ONLY={experiment}`"
        made = f"{command} in the notebook {{doc}}`/results/{experiment}/{experiment}`, at {commit}"
        return f"Its numbers are those of `results/{experiment}/`, made {made}, on {run['processor']}."


def add_twin(app: Sphinx, pagename: str, _template: str, context: dict[str, Any], _doctree: nodes.document) -> None:
    """Put an ``.ipynb`` twin of a page that runs code beside its source, where the theme links to it."""
    source = Path(app.srcdir) / f"{pagename}.md"
    if not source.is_file() or "{code-cell}" not in source.read_text("utf-8"):
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
