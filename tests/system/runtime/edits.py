"""Random edits of the controller's configurations and of the files they name, as a controller could make them.

An edit is four numbers, so that any of them can be applied to any configuration, and Hypothesis can shrink them.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from amphora_agent.core.haproxy import config as haproxy_config
from amphora_agent.core.haproxy.change import Stored
from amphora_agent.core.haproxy.config import Config, Section, crt_list_files, crt_lists, parse, referenced_files
from amphora_agent.core.haproxy.words import split_words
from testbed import haproxy_text
from testbed.certificates import Minted

SAMPLES = Path(__file__).parents[3] / "testbed" / "samples" / "haproxy"
BASE = "/var/lib/octavia"

Edit = tuple[int, int, int, int]


@dataclass(slots=True)
class Edited:
    """A configuration under edit; `store()` writes its files below `directory` and says what is stored."""

    directory: Path
    minted: Minted
    config: Config
    lists: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    counter: int = 0

    @staticmethod
    def of_sample(name: str, directory: Path, minted: Minted) -> Edited:
        """Take a sample and give it the files it names."""
        # HAProxy clears the session cache at each start: two seconds for the sample's size.
        text = (SAMPLES / f"{name}.cfg").read_text().replace(BASE, str(directory)).replace("10752000", "1000")
        edited = Edited(directory, minted, parse(text))
        for path in referenced_files(edited.config):
            if path in crt_lists(edited.config):
                edited.lists[path] = [edited._new_file(path, minted.next_certificate()) for _ in range(3)]
        for section in edited.config.sections:
            for words in map(split_words, section.lines):
                for option, value in pairwise(words):
                    content = {"ca-file": minted.next_ca, "crl-file": minted.next_crl, "crt": minted.next_certificate}
                    if option in content and value not in edited.files:
                        edited.files[value] = content[option]()
        return edited

    def store(self) -> Stored:
        """Write every file and return what the agent would gather."""
        lists = {path: "".join(f"{name}\n" for name in names) for path, names in self.lists.items()}
        contents = {**self.files, **{path: text.encode() for path, text in lists.items()}}
        for path, data in contents.items():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(data)
        named = set(referenced_files(self.config))
        for path in crt_lists(self.config):
            named.update(crt_list_files(lists[path]))
        digests = {path: hashlib.sha256(contents[path]).hexdigest() for path in named}
        return haproxy_text.stored(config=haproxy_config.render(self.config), digests=digests, crt_lists=lists)

    def apply(self, edit: Edit) -> bool:
        """Make one edit of those that this configuration allows; tell whether anything changed."""
        before = self.config, {path: list(names) for path, names in self.lists.items()}
        operations: list[Callable[[int, int, int], None]] = []
        if self._backend(0) >= 0:
            operations += [self.add, self.remove, self.weigh, self.disable, self.move_check, self.back_up]
            operations += [self.reorder, self.space, self.add_again]
        if self.lists:
            operations += [self.renew_certificate, self.add_certificate, self.remove_certificate]
        renewals = {"ca-file": self.renew_ca, "crl-file": self.renew_crl, "crt": self.renew_client_certificate}
        text = haproxy_config.render(self.config)
        operations += [renew for option, renew in renewals.items() if f" {option} " in text]
        number, a, b, c = edit
        if operations:
            operations[number % len(operations)](a, b, c)
        return before != (self.config, self.lists)

    def add(self, a: int, b: int, c: int) -> None:
        """Add a member like one that is there."""
        self._add(a, b, c, str(uuid.UUID(int=b * 65536 + self._count())))

    def add_again(self, a: int, b: int, c: int) -> None:
        """Add a member with the id of one that was removed."""
        if self.removed:
            self._add(a, b, c, self.removed.pop(a % len(self.removed)))

    def _add(self, a: int, b: int, c: int, name: str) -> None:
        index = self._backend(a)
        servers = self._servers(index)
        if any(line.split()[1] == name for line in servers):
            return
        options = servers[b % len(servers)].split()[3:] if servers else ["weight", "1"]
        if "cookie" in options:
            options[options.index("cookie") + 1] = name
        host = f"2001:db8::{c % 65536:x}" if c % 5 == 0 else f"10.20.{c % 256}.{b % 256}"
        servers.insert(b % (len(servers) + 1), f"    server {name} {host}:{1 + c % 60000} {' '.join(options)}")
        self._replace(index, servers)

    def remove(self, a: int, b: int, _: int) -> None:
        """Remove a member."""
        index = self._backend(a)
        servers = self._servers(index)
        if servers:
            self.removed.append(servers.pop(b % len(servers)).split()[1])
            self._replace(index, servers)

    def weigh(self, a: int, b: int, c: int) -> None:
        """Change a weight."""
        self._change(a, b, lambda words: _with_option(words, "weight", str(c % 257)))

    def disable(self, a: int, b: int, _: int) -> None:
        """Disable a member, or enable it again."""
        self._change(a, b, lambda words: _toggled(words, "disabled"))

    def back_up(self, a: int, b: int, _: int) -> None:
        """Make a member a backup, or no longer."""
        self._change(a, b, lambda words: _toggled(words, "backup"))

    def move_check(self, a: int, b: int, c: int) -> None:
        """Check a member elsewhere."""

        def moved(words: list[str]) -> list[str]:
            if "check" not in words:
                return words
            words = _with_option(words, "addr", f"10.30.0.{c % 200 + 1}") if c % 2 else words
            return _with_option(words, "port", str(9000 + c % 100)) if c % 3 else words

        self._change(a, b, moved)

    def reorder(self, a: int, b: int, _: int) -> None:
        """Write the members in another order."""
        index = self._backend(a)
        servers = self._servers(index)
        if servers:
            servers = servers[b % len(servers) :] + servers[: b % len(servers)]
            self._replace(index, servers)

    def space(self, a: int, b: int, _: int) -> None:
        """Add a comment and blanks that mean nothing."""
        index = self._backend(a)
        if index < 0:
            return
        section = self.config.sections[index]
        lines = [line.replace(" ", "   " if b % 2 else "\t") + "  # x" for line in section.lines]
        self._put(index, (*lines, "", "    # nothing"))

    def renew_certificate(self, a: int, b: int, _: int) -> None:
        """Renew a certificate on a crt-list: a new file with a new name in its place."""
        if self.lists:
            path = sorted(self.lists)[a % len(self.lists)]
            names = self.lists[path]
            position = 0 if b % 2 else b % len(names)
            names[position] = self._new_file(path, self.minted.next_certificate())

    def add_certificate(self, a: int, _: int, __: int) -> None:
        """Add a certificate to a crt-list."""
        if self.lists:
            path = sorted(self.lists)[a % len(self.lists)]
            self.lists[path].append(self._new_file(path, self.minted.next_certificate()))

    def remove_certificate(self, a: int, b: int, _: int) -> None:
        """Remove a certificate from a crt-list, not its first one."""
        if self.lists:
            names = self.lists[sorted(self.lists)[a % len(self.lists)]]
            if len(names) > 1:
                del names[1 + b % (len(names) - 1)]

    def renew_ca(self, _: int, __: int, ___: int) -> None:
        """Renew every CA: the lines that name it change."""
        self._renew("ca-file", self.minted.next_ca)

    def renew_crl(self, _: int, __: int, ___: int) -> None:
        """Renew every CRL."""
        self._renew("crl-file", self.minted.next_crl)

    def renew_client_certificate(self, _: int, __: int, ___: int) -> None:
        """Renew the certificate shown to members."""
        self._renew("crt", self.minted.next_certificate)

    def _renew(self, option: str, mint: Callable[[], bytes]) -> None:
        names: dict[str, str] = {}
        for index, section in enumerate(self.config.sections):
            lines = []
            for line in section.lines:
                words = line.split()
                if words[:1] in (["bind"], ["server"]) and option in words:
                    old = words[words.index(option) + 1]
                    if old not in names:
                        names[old] = self._new_file(old, mint())
                    line = "    " + " ".join(_with_option(words, option, names[old]))  # noqa: PLW2901
                lines.append(line)
            self._put(index, tuple(lines))

    def _new_file(self, beside: str, data: bytes) -> str:
        path = f"{beside.rpartition('/')[0]}/{hashlib.sha1(data).hexdigest()}.pem"  # noqa: S324
        self.files[path] = data
        return path

    def _count(self) -> int:
        self.counter += 1
        return self.counter

    def _backend(self, a: int) -> int:
        indices = [
            index
            for index, section in enumerate(self.config.sections)
            if section.kind == "backend" and "prometheus" not in section.name
        ]
        return indices[a % len(indices)] if indices else -1

    def _servers(self, index: int) -> list[str]:
        if index < 0:
            return []
        return [" ".join(["   ", *split_words(line)]) for line in self.config.sections[index].lines if _is_server(line)]

    def _replace(self, index: int, servers: list[str]) -> None:
        if index >= 0:
            others = [line for line in self.config.sections[index].lines if not _is_server(line)]
            self._put(index, (*others, *servers))

    def _change(self, a: int, b: int, change: Callable[[list[str]], list[str]]) -> None:
        index = self._backend(a)
        servers = self._servers(index)
        if servers:
            position = b % len(servers)
            servers[position] = "    " + " ".join(change(servers[position].split()))
            self._replace(index, servers)

    def _put(self, index: int, lines: tuple[str, ...]) -> None:
        sections = list(self.config.sections)
        sections[index] = Section(sections[index].kind, sections[index].name, lines)
        self.config = Config(self.config.preamble, tuple(sections))


def _is_server(line: str) -> bool:
    return line.split()[:1] == ["server"]


def _with_option(words: list[str], option: str, value: str) -> list[str]:
    if option not in words:
        return [*words, option, value]
    position = words.index(option)
    return [*words[: position + 1], value, *words[position + 2 :]]


def _toggled(words: list[str], flag: str) -> list[str]:
    return [word for word in words if word != flag] if flag in words else [*words, flag]
