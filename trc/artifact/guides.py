"""``book/guides.yml``: what the documents that this project began with name, and what stands here in its place."""

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import click
import yaml

from ..cli.main import trc
from ..common.checks import check_choice, check_types, from_settings
from ..common.files import require_file
from ..common.text import markdown

#: What a document may name, each a list of the file.
KINDS = ("scripts", "commands", "options", "functions", "files", "outputs", "measures")

#: The counterpart of what has none, and those that are said in words.
NONE, WORDS = "none", ("the same", "the reader's own")

#: What the documents' lines of options alone are added to: they are options of the script that trains.
TRAINING = "trc train --data data/lqr_train/lqr_dataset.npz"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A thing that documents name, its counterpart, and a remark or the reason why there is none."""

    guides: str  # keys of the documents, as words
    named: str
    here: str = ""
    why: str = ""

    def __post_init__(self) -> None:
        check_types(self)
        if self.here == NONE and not self.why:
            raise ValueError(f"{self.named} has no counterpart, so it needs a why.")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A command line of a document, and what it becomes here."""

    named: str
    plain: str  # with trc in place of the script, and nothing else changed; empty where no script is replaced by it
    here: str  # what does the same; empty if nothing does
    how: str  # "stands", "renamed" (.safetensors for .pt), "differs" or "none"
    kind: str  # "script", "options" or "shell"
    why: str

    @property
    def shown(self) -> str:
        """What to type: the command as ``make book`` installs it."""
        if self.kind == "options":
            return f".venv/bin/trc train … {self.named}"
        return f".venv/bin/{self.here}" if self.here.startswith(("trc ", "python ")) else self.here

    @property
    def command(self) -> click.Command | None:
        """The command of ours that it starts."""
        words = (self.plain or self.here).split()
        return trc.commands[words[1]] if words[:1] == ["trc"] else None

    @property
    def options(self) -> list[str]:
        """The options that it has, as they are typed."""
        return [word for word in shlex.split(self.named) if word.startswith("--")]


@dataclass(frozen=True)
class Guides:
    """The titles of the documents by their keys, and what they name, by its kind."""

    titles: dict[str, str]
    entries: dict[str, list[Entry]]

    def lines(self, guide: str) -> list[Line]:
        """The command lines of a document, in its order."""
        return [self._line(entry) for entry in self.entries["commands"] if guide in entry.guides.split()]

    @cached_property
    def all_lines(self) -> list[Line]:
        """The command lines of all documents."""
        return [line for guide in self.titles for line in self.lines(guide)]

    def _line(self, entry: Entry) -> Line:
        plain, kind = entry.named, "shell"
        for script in self.entries["scripts"]:
            name, _, rest = entry.named.partition(script.named)
            if not name and entry.named != rest and not rest.strip().startswith("/"):
                kind, plain = "script", "" if script.here == NONE else script.here + rest
        if entry.named.startswith("--"):
            kind, plain = "options", f"{TRAINING} {entry.named}"
        here = "" if entry.here == NONE else entry.here or re.sub(r"\.pt\b", ".safetensors", plain)
        how = "none" if not here else "differs" if entry.here else "stands" if here == plain else "renamed"
        return Line(named=entry.named, plain=plain, here=here, how=how, kind=kind, why=entry.why)

    def counts(self) -> Counter[str]:
        """How many lines there are: in all, different ones, by kind, and of those that start a script, how they do."""
        lines = self.all_lines
        kinds, hows = (line.kind for line in lines), (line.how for line in lines if line.kind == "script")
        return Counter([*kinds, *hows]) + Counter(lines=len(lines), different=len({line.named for line in lines}))

    def typed_options(self) -> Iterator[tuple[str, click.Command, click.Option | None]]:
        """The options that the documents type, each with its command, and what it is there."""
        seen = set()
        for line in self.all_lines:
            for name in line.options if line.command else ():
                if (name, line.command.name) not in seen and name != "--help":
                    seen.add((name, line.command.name))
                    yield name, line.command, find_option(line.command, name)

    def command_table(self, guide: str) -> str:
        """A document's command lines and their counterparts, as Markdown."""
        rows = [
            [_code(line.named), (_code(line.shown) if line.here else "—") + (line.why and f"<br>{line.why}")]
            for line in self.lines(guide)
        ]
        return markdown(["the guide", "here"], rows, left=2)

    def option_table(self) -> str:
        """The options that the documents type, command by command, as Markdown."""
        typed = sorted(self.typed_options(), key=lambda one: one[1].name)
        rows = [
            [_code(f"trc {command.name}"), _code(name), option.help or ""]
            for name, command, option in typed
            if option is not None
        ]
        rows += [["none", _code(entry.named), entry.why] for entry in self.entries["options"]]
        return markdown(["command", "option", "what it is here"], rows, left=3)

    def table(self, kind: str) -> str:
        """Everything of a kind with its counterpart, as Markdown."""
        rows = [
            [_codes(entry.named, kind), entry.guides.replace(" ", ", "), _counterpart(entry, kind), entry.why]
            for entry in self.entries[kind]
        ]
        return markdown(["the guides", "which", "here", "remark"], rows, left=4)


def find_option(command: click.Command, name: str) -> click.Option | None:
    """The option of a command that a name means, with hyphens or underscores."""
    name = name.replace("_", "-")
    return next((p for p in command.params if isinstance(p, click.Option) and name in p.opts), None)


def read_guides(root: Path) -> Guides:
    """What ``book/guides.yml`` lists; a ``ValueError`` if it is not as it must be."""
    path = require_file(root / "book" / "guides.yml", "list of what the guides name", "restore it with git")
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
        if not isinstance(found, dict) or set(found) != {"documents", *KINDS}:
            raise ValueError(f"it must have exactly documents and the lists {', '.join(KINDS)}")
        entries = {kind: [from_settings(Entry, row, "key") for row in found[kind]] for kind in KINDS}
        for guide in {guide for some in entries.values() for entry in some for guide in entry.guides.split()}:
            check_choice(guide, "guide", found["documents"])
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a list of what the guides name ({' '.join(str(error).split())}).") from None
    return Guides(found["documents"], entries)


def _counterpart(entry: Entry, kind: str) -> str:
    if entry.here == NONE:
        return "—"
    return entry.here if entry.here in WORDS else _codes(entry.here, kind)


def _codes(text: str, kind: str) -> str:
    """Names as code, one by one where they are files; a measure is named in words, and its file and key are apart."""
    if kind == "measures":
        file, _, key = text.partition(".json ")
        return f"{_code(f'{file}.json')}: {_code(key)}" if key else text
    return ", ".join(map(_code, text.split(", ") if kind == "files" else [text]))


def _code(text: str) -> str:
    return f"`{text.replace('|', '&#124;')}`"
