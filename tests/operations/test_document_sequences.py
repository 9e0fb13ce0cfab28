"""What a dry run says is what then happens: random edits of random documents, applied to a running HAProxy.

After each, HAProxy has the members, weights and certificates of the document, and the same document again is nothing.

    AMPHORA_EDITS   how many edits are made; AMPHORA_SEED which
"""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from cryptography import x509
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from amphora_agent.core.document.checks import check
from amphora_agent.core.document.model import Document
from amphora_agent.core.document.place import Place, haproxy_listeners, pools_behind
from amphora_agent.core.document.reading import Reading, read_tree
from amphora_agent.core.document.render import file_secrets, render
from amphora_agent.core.document.stored import served
from amphora_agent.core.haproxy import config as haproxy_config
from amphora_agent.core.haproxy.servers_state import parse_servers_state
from amphora_agent.host.haproxy import binary
from amphora_agent.operations.document import apply, members, rotation, status, store
from amphora_agent.operations.document.apply import Applied, Wanted
from amphora_agent.operations.haproxy import removals
from testbed.operations import Workbench
from testbed.pki import Pki
from tests.core.document.documents import SECRETS, documents
from tests.operations.document_edits import Edit, Json, edited, servable
from tests.operations.test_documents import BY, SHOP, desk

__all__ = ["desk"]

EDITS = int(os.environ.get("AMPHORA_EDITS", "150"))
EDITS_EACH = 15
GIVEN_UP = "the change at run time did not succeed"
CERTIFICATES = ("shop-rsa", "api")

edits = st.tuples(st.integers(0, 1000), st.integers(0, 7), st.integers(0, 100_000))
stories = st.tuples(documents(), st.lists(edits, min_size=EDITS_EACH, max_size=EDITS_EACH))


@dataclass(slots=True)
class Story:
    """One load balancer from its first document to its last."""

    desk: Workbench
    issued: Iterator[bytes]
    secrets: dict[str, bytes] = field(default_factory=dict)
    made: Counter[str] = field(default_factory=Counter)

    @property
    def place(self) -> Place:
        """Where it is."""
        return Place(SHOP, self.desk.paths)

    def follow(self, tree: Json) -> None:
        """Apply a document, and hold what comes of it against what was foretold."""
        wanted = self.wanted(tree)
        if wanted is None:
            return
        with self.desk.changing() as change:
            told = apply.plan(change, SHOP, wanted)
            done = apply.apply(change, SHOP, wanted)
        if told.plan.decision == "runtime" and done.plan.reason.startswith(GIVEN_UP):
            self.made["given up at run time"] += 1  # HAProxy did not do as told: one reload, as promised
        else:
            assert _facts(done) == _facts(told)
        self.made[done.plan.decision] += 1
        self.check(wanted.document)
        with self.desk.changing() as change:
            again = apply.apply(change, SHOP, wanted)
        assert (again.plan.decision, again.plan.steps, again.differences) == ("nothing", (), ())
        assert again.stored.generation == done.stored.generation

    def wanted(self, tree: Json) -> Wanted | None:
        """Return what applies a document; None for one that has something wrong, or is served already."""
        reading = read_tree(tree)
        assert isinstance(reading, Reading), reading
        found = check(reading.document, SECRETS)
        return None if found else Wanted(document=reading.document, by=BY)

    def renew(self, name: str) -> None:
        """Put another certificate in the place of one."""
        self.secrets[name] = next(self.issued)
        with self.desk.changing() as change:
            for applied in rotation.put(change, name, self.secrets[name], BY):
                self.made[f"renewed by {applied.plan.decision}"] += 1
        self.check(store.get(self.desk.amphora, SHOP).document)

    def drain(self, number: int) -> None:
        """Drain a member, or end what drains it."""
        stored = store.get(self.desk.amphora, SHOP)
        found = [(pool.name, member.name) for pool in stored.document.pools for member in pool.members]
        if not found:
            return
        pool, member = found[number % len(found)]
        is_drained = any((each.pool, each.member) == (pool, member) for each in stored.drained)
        with self.desk.changing() as change:
            switch = members.make_ready if is_drained else members.drain
            self.made[f"drained by {switch(change, SHOP, pool, member, BY).plan.decision}"] += 1
        self.check(stored.document)

    def check(self, document: Document) -> None:
        """Hold what is stored, and what HAProxy runs, against the document."""
        stored = store.get(self.desk.amphora, SHOP)
        assert stored.document == document
        assert not status.report(self.desk.amphora, SHOP).trouble
        shown = served(document, stored.drained)
        rendered = render(shown, self.place, {}).haproxy
        if rendered is None:
            assert not self.desk.own.config.exists()
            return
        version = binary.installed_version(self.desk.amphora.started.haproxy_cmd)
        text = haproxy_config.rewrite_for(haproxy_config.render(rendered), version)
        assert self.desk.own.config.read_text() == text
        waiting = removals.read(self.desk.own.removing)
        rows = parse_servers_state(self.desk.ask("show servers state"))
        found = {
            (row.backend, row.name): (row.address, row.port, row.weight, row.is_maint)
            for row in rows
            if row.name not in waiting.get(row.backend, ())
        }
        assert {key: value for key, value in found.items() if key[0].count("-") > 7} == dict(self.servers(shown))
        self.check_certificates(shown)

    def servers(self, document: Document) -> Iterator[tuple[tuple[str, str], tuple[str, int, int, bool]]]:
        """Yield the members as HAProxy is to show them."""
        identity = self.place.identity
        for listener in haproxy_listeners(document):
            if not (listener.admin_state_up and document.admin_state_up):
                continue
            for pool in pools_behind(document, listener):
                for member in pool.members:
                    key = identity.backend(pool.name, listener.name), identity.member(pool.name, member.name)
                    yield key, (member.address, member.protocol_port, member.weight, not member.admin_state_up)

    def check_certificates(self, document: Document) -> None:
        """Hold the certificates that HAProxy has loaded against the secrets."""
        loaded = self.desk.ask("show ssl cert")
        for name in set(file_secrets(document)) & set(CERTIFICATES):
            path = self.place.secret_file(name)
            if path not in loaded:
                continue
            self.made["certificates looked at"] += 1
            serial = f"{x509.load_pem_x509_certificate(self.secrets[name]).serial_number:X}"
            shown = [line for line in self.desk.ask(f"show ssl cert {path}").splitlines() if "Serial:" in line]
            assert shown == [f"Serial: {serial.zfill(len(serial) + len(serial) % 2)}"], name


def _facts(applied: Applied) -> tuple[object, ...]:
    plan, stored = applied.plan, applied.stored
    return (plan.decision, plan.reason, plan.reload, plan.steps, applied.differences, stored.generation)


@pytest.mark.timeout(7200)
def test_what_is_planned_is_what_happens(desk: Workbench) -> None:
    desk.netns.ip(
        "address add 2001:db8:10::100/128 dev lo nodad",
        "address add 10.11.0.100/32 dev lo",
    )
    pki = Pki.mint("shop")
    story = Story(desk, itertools.cycle([pki.issue(f"{number}.example.org") for number in range(8)]))
    for name, data in {"partners": pki.ca, "revoked": pki.crl(), "pair": b"s3cr3t7\n"}.items():
        with desk.changing() as change:
            rotation.put(change, name, data, BY)
    for name in CERTIFICATES:
        story.secrets[name] = next(story.issued)
        with desk.changing() as change:
            rotation.put(change, name, story.secrets[name], BY)

    @seed(int(os.environ["AMPHORA_SEED"]))
    @settings(
        max_examples=-(-EDITS // EDITS_EACH),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
    )
    @given(stories)
    def live(drawn: tuple[Json, list[Edit]]) -> None:
        tree, steps = drawn
        tree = servable(tree)
        story.follow(tree)
        for step in steps:
            if step[0] % 10 == 0:
                story.renew(CERTIFICATES[step[1] % 2])
            elif step[0] % 10 == 1:
                story.drain(step[2])
            else:
                after = edited(tree, step)
                if story.wanted(after) is not None:
                    tree = after
                    story.follow(tree)

    began = time.monotonic()
    live()
    print(f"\n{time.monotonic() - began:.0f} s, {dict(story.made.most_common())}")  # noqa: T201
    assert story.made["runtime"] >= EDITS // 10, story.made
    assert story.made["given up at run time"] <= 1 + EDITS // 50, story.made
    assert story.made["certificates looked at"], story.made
