"""Plans: which difference is made at run time, which takes a reload, and that a plan never does more than it must."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from amphora_agent.core.haproxy.change import (
    Decision,
    Nothing,
    Permissions,
    Reload,
    Runtime,
    Stored,
    decide,
)
from amphora_agent.core.haproxy.config import crt_list_files, crt_lists, parse, referenced_files
from amphora_agent.core.haproxy.plan import MAX_COMMANDS
from amphora_agent.core.haproxy.server_line import Server, parse_server
from amphora_agent.core.haproxy.steps import (
    AddCertificate,
    AddServer,
    FileKind,
    RemoveCertificate,
    RemoveServer,
    ReplaceFile,
    ReplaceServer,
    RuntimeStep,
    SetCheckAddress,
    SetState,
    SetWeight,
)
from amphora_agent.core.haproxy.version import Version
from amphora_agent.core.haproxy.words import split_words
from amphora_agent.core.process_id import ProcessId
from amphora_agent.core.records.applied_config import AppliedConfig, Commits
from testbed import haproxy_text

SAMPLES = Path(__file__).parents[3] / "testbed" / "samples" / "haproxy"
WORKER = ProcessId(1, 2)
V26, V30 = Version(2, 6, 12), Version(3, 0, 11)
CHECK = "check inter 5s fall 3 rise 2"


@dataclass(frozen=True, kw_only=True)
class Files:
    """A configuration with the content of the files it names."""

    config: str
    lists: Mapping[str, str] = field(default_factory=dict)
    contents: Mapping[str, str] = field(default_factory=dict)

    def stored(self) -> Stored:
        """Return what the agent would gather; a file without content of its own contains its name."""
        named = set(referenced_files(parse(self.config)))
        for path in crt_lists(parse(self.config)):
            named.update(crt_list_files(self.lists.get(path, "")))
        contents = {**{path: path for path in named}, **self.lists, **self.contents}
        digests = {path: hashlib.sha256(contents[path].encode()).hexdigest() for path in named}
        return haproxy_text.stored(config=self.config, digests=digests, crt_lists=self.lists)


def decided(
    before: Files, after: Files, permissions: Permissions | None = None, applied: AppliedConfig | None = None
) -> Decision:
    stored = before.stored()
    record = applied or AppliedConfig(
        config=stored.config, digests=stored.digests, crt_lists=stored.crt_lists, worker=WORKER
    )
    return decide(record, after.stored(), WORKER, permissions or Permissions(version=V30))


def steps(decision: Decision) -> tuple[RuntimeStep, ...]:
    assert isinstance(decision, Runtime), decision
    return decision.plan.steps


def backend(*servers: str, algorithm: str = "roundrobin", extra: str = "    option allbackups\n") -> Files:
    lines = "".join(f"    server {server}\n" for server in servers)
    return Files(config=f"backend p:l\n    mode http\n    balance {algorithm}\n{extra}{lines}")


def server(line: str) -> Server:
    found = parse_server(split_words(f"server {line}"))
    assert found is not None
    return found


A, B, C = f"a 10.0.0.1:80 weight 1 {CHECK}", f"b 10.0.0.2:80 weight 1 {CHECK}", f"c 10.0.0.3:80 weight 1 {CHECK}"


@pytest.mark.parametrize("algorithm", ["roundrobin", "leastconn"])
@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([A], [A, B], [AddServer("p:l", server(B))]),
        ([], [B], [AddServer("p:l", server(B))]),
        ([A, B], [A], [RemoveServer("p:l", "b")]),
        ([A, B], [C, A], [AddServer("p:l", server(C)), RemoveServer("p:l", "b")]),
        ([A, B], [B, A.replace("weight 1", "weight 7")], [SetWeight("p:l", "a", 7)]),
        ([A, B], [A, f"{B} disabled"], [SetState("p:l", "b", is_enabled=False)]),
        ([A, f"{B} disabled"], [A, B], [SetState("p:l", "b", is_enabled=True)]),
        ([A, B], [A, f"{B} backup"], [ReplaceServer("p:l", server(f"{B} backup"))]),
        ([A, B], [A, B.replace(":80", ":81")], [ReplaceServer("p:l", server(B.replace(":80", ":81")))]),
        ([A, B], [A, B.replace("5s", "6s")], [ReplaceServer("p:l", server(B.replace("5s", "6s")))]),
        ([A, B], [A, f"{B} port 9"], [ReplaceServer("p:l", server(f"{B} port 9"))]),
        ([A, f"{B} port 8"], [A, f"{B} port 9"], [SetCheckAddress("p:l", "b", None, 9)]),
        (
            [A, f"{B} addr 10.9.9.1 port 8"],
            [A, f"{B} addr 10.9.9.2 port 8"],
            [SetCheckAddress("p:l", "b", server(f"{B} addr 10.9.9.2").check_address, 8)],
        ),
    ],
)
def test_member_changes(before: list[str], after: list[str], expected: list[RuntimeStep], algorithm: str) -> None:
    decision = decided(backend(*before, algorithm=algorithm), backend(*after, algorithm=algorithm))
    assert list(steps(decision)) == expected
    assert isinstance(decision, Runtime)
    assert decision.reason


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (backend(A, algorithm="source"), backend(A, B, algorithm="source")),
        (backend(A, B, algorithm="source"), backend(A, algorithm="source")),
        (backend(A, B, algorithm="source"), backend(B, A, algorithm="source")),
        (backend(A, algorithm="source"), backend(A.replace("weight 1", "weight 2"), algorithm="source")),
        (backend(A, algorithm="first"), backend(A, B, algorithm="first")),
        (backend(A, extra="    option external-check\n"), backend(A, B, extra="    option external-check\n")),
        (backend(A, B, extra="    option external-check\n"), backend(A, extra="    option external-check\n")),
        (backend(A, extra="    default-server inter 9s\n"), backend(A, B, extra="    default-server inter 9s\n")),
        (backend(A, extra="    use-server a if { src 1.1.1.1 }\n"), backend(A, B, extra="    use-server a if X\n")),
        (backend(A, B, extra="    use-server b if X\n"), backend(A, extra="    use-server b if X\n")),
        (backend(A, B, extra="    new-directive b\n"), backend(A, extra="    new-directive b\n")),
        (backend(f"{A} backup", extra=""), backend(f"{A} backup", B, extra="")),
        (backend(f"{A} backup", f"{B} backup", extra=""), backend(f"{B} backup", f"{A} backup", extra="")),
        (backend(A), backend(A, "b 10.0.0.2:80 weight 1 track p:l/a")),
        (backend(A), backend(A, "b 10.0.0.2:80 weight 1;x")),
        (backend(A), backend(A, "a 10.0.0.2:80 weight 1")),
        (backend(A), backend(A.replace("5s", "6s"))),
        (backend(A, B), backend(A.replace("5s", "6s"), B.replace("5s", "6s"))),
        (backend(A, f"{B} backup"), backend(A.replace("5s", "6s"), f"{B} backup")),
        (backend(A, f"{B} disabled"), backend(A.replace("5s", "6s"), f"{B} disabled")),
        (backend(A, B), backend()),
        (backend(A), backend(A, B, extra="    option allbackups\n    fullconn 5\n")),
        (backend(A), backend(A, "b 10.0.0.2:80 ssl verify required ca-file /new.pem")),
        (backend(A), replace(backend(A, B), config=f"global\n    maxconn 5\n{backend(A, B).config}")),
    ],
)
def test_what_takes_a_reload(before: Files, after: Files) -> None:
    assert isinstance(decided(before, after), Reload)


def test_source_balancing_still_enables_and_disables() -> None:
    decision = decided(backend(A, B, algorithm="source"), backend(A, f"{B} disabled", algorithm="source"))
    assert steps(decision) == (SetState("p:l", "b", is_enabled=False),)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (Version(2, 4, 22), Reload),
        (Version(2, 5, 14), Reload),
        (Version(2, 6, 0), Runtime),
        (V26, Runtime),
        (V30, Runtime),
        (Version(3, 4, 1), Runtime),
        (None, Reload),
    ],
)
def test_adding_by_version(version: Version | None, expected: type[Decision]) -> None:
    assert isinstance(decided(backend(A), backend(A, B), Permissions(version=version)), expected)


@pytest.mark.parametrize(
    ("version", "expected"), [(V26, Reload), (Version(2, 8, 9), Reload), (V30, Runtime), (Version(3, 2, 1), Runtime)]
)
def test_cookies_by_version(version: Version, expected: type[Decision]) -> None:
    before, after = backend(f"{A} cookie a"), backend(f"{A} cookie a", f"{B} cookie b")
    assert isinstance(decided(before, after, Permissions(version=version)), expected)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (V26, Reload),
        (Version(2, 8, 3), Reload),
        (Version(2, 8, 10), Runtime),
        (Version(2, 9, 1), Reload),
        (V30, Runtime),
    ],
)
def test_replacing_at_once_by_version(version: Version, expected: type[Decision]) -> None:
    decision = decided(backend(A, B), backend(A, f"{B} backup"), Permissions(version=version))
    assert isinstance(decision, expected)


@pytest.mark.parametrize(
    ("version", "algorithm", "expected"),
    [
        (Version(3, 2, 5), "leastconn", Runtime),
        (Version(3, 2, 6), "leastconn", Reload),
        (Version(3, 2, 18), "leastconn", Reload),
        (Version(3, 2, 19), "leastconn", Runtime),
        (Version(3, 2, 26), "leastconn", Runtime),
        (Version(3, 3, 0), "leastconn", Reload),
        (Version(3, 3, 2), "leastconn", Reload),
        (Version(3, 2, 6), "roundrobin", Runtime),
        (Version(3, 4, 0), "leastconn", Runtime),
    ],
)
def test_the_leastconn_abort_is_avoided(version: Version, algorithm: str, expected: type[Decision]) -> None:
    permissions = Permissions(version=version)
    for after in (backend(A, B, algorithm=algorithm), backend(f"{A} disabled", algorithm=algorithm)):
        assert isinstance(decided(backend(A, algorithm=algorithm), after, permissions), expected)


def test_switches() -> None:
    before, after = backend(A), backend(A, B)
    assert isinstance(decided(before, after, Permissions(version=V30, runtime_changes=False)), Reload)
    decision = decided(before, after, Permissions(version=V30, reload_only="it crashed"))
    assert isinstance(decision, Reload)
    assert "it crashed" in decision.reason
    down = steps(decided(before, after, Permissions(version=V30, new_members_start_down=True)))
    assert down == (AddServer("p:l", server(B), starts_down=True),)


def test_an_interrupted_change_is_followed_by_a_reload_even_back_to_where_it_was() -> None:
    stored = backend(A).stored()
    record = AppliedConfig(config=stored.config, digests={}, worker=WORKER, is_unfinished=True)
    assert isinstance(decide(record, stored, WORKER, Permissions(version=V30)), Reload)


def test_too_many_steps_are_a_reload() -> None:
    many = [f"m{number} 10.1.{number // 250}.{number % 250}:80 weight 1" for number in range(MAX_COMMANDS)]
    assert isinstance(decided(backend(A), backend(A, *many[: MAX_COMMANDS // 3])), Runtime)
    assert isinstance(decided(backend(A), backend(A, *many)), Reload)


def test_every_sample_takes_a_member_more_or_less() -> None:
    reloads = set()
    for path in sorted(SAMPLES.glob("*.cfg")):
        text = path.read_text()
        servers = [line for line in text.splitlines() if line.startswith("    server ") and "prometheus" not in line]
        if len(servers) < 2:
            continue
        new = servers[0].replace(servers[0].split()[1], "00000000-0000-0000-0000-000000000000")
        for after in (text.replace(servers[0], f"{servers[0]}\n{new}"), text.replace(f"{servers[1]}\n", "")):
            if not isinstance(decided(Files(config=text), Files(config=after)), Runtime):
                reloads.add(path.stem)
    # `balance source`, and PING checks twice.
    assert reloads == {"03-https-passthrough", "07-http-monitor-ping", "29-old-haproxy-1.5"}


# Files


LIST, A_PEM, B_PEM, C_PEM, D_PEM, E_PEM = "/c/l.pem", "/c/a.pem", "/c/b.pem", "/c/c.pem", "/c/d.pem", "/c/e.pem"
TLS = f"frontend l\n    bind 10.0.0.1:443 ssl crt-list {LIST} alpn h2\n"
CLIENTS = f"frontend l\n    bind 10.0.0.1:443 ssl crt-list {LIST} ca-file {{}} verify required crl-file {{}} alpn h2\n"


def served(*names: str, config: str = TLS, contents: Mapping[str, str] | None = None) -> Files:
    return Files(config=config, lists={LIST: "".join(f"{name}\n" for name in names)}, contents=contents or {})


def cert(loaded: str, file: str) -> ReplaceFile:
    return ReplaceFile(FileKind.CERTIFICATE, loaded, file)


@pytest.mark.parametrize(
    ("before", "after", "expected", "aliases"),
    [
        ([A_PEM], [B_PEM], [cert(A_PEM, B_PEM)], {B_PEM: A_PEM}),
        ([A_PEM, B_PEM], [A_PEM, C_PEM], [cert(B_PEM, C_PEM)], {C_PEM: B_PEM}),
        ([A_PEM], [A_PEM, B_PEM], [AddCertificate(LIST, B_PEM, B_PEM)], {}),
        ([A_PEM, B_PEM, C_PEM], [A_PEM, C_PEM], [RemoveCertificate(LIST, B_PEM, is_unused=True)], {}),
        (
            [A_PEM, B_PEM, C_PEM],
            [A_PEM, C_PEM, D_PEM],
            [AddCertificate(LIST, D_PEM, D_PEM), RemoveCertificate(LIST, B_PEM, is_unused=True)],
            {},
        ),
        (
            [A_PEM, B_PEM],
            [C_PEM, B_PEM, D_PEM],
            [cert(A_PEM, C_PEM), AddCertificate(LIST, D_PEM, D_PEM)],
            {C_PEM: A_PEM},
        ),
    ],
)
def test_certificate_changes(
    before: list[str], after: list[str], expected: list[RuntimeStep], aliases: dict[str, str]
) -> None:
    decision = decided(served(*before), served(*after))
    assert list(steps(decision)) == expected
    assert isinstance(decision, Runtime)
    assert decision.plan.aliases == aliases
    assert decision.plan.commits == {Commits.CERTIFICATE}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (served(A_PEM, B_PEM), served(B_PEM, A_PEM)),
        (served(A_PEM, B_PEM), served(B_PEM)),
        (served(A_PEM, B_PEM, C_PEM), served(A_PEM, C_PEM, B_PEM)),
        (served(A_PEM, B_PEM), served(A_PEM, D_PEM, B_PEM)),
        (served(A_PEM, A_PEM), served(A_PEM, B_PEM)),
        (served(A_PEM), served(f"{B_PEM} *.org")),
        (served(A_PEM), served()),
        (served(A_PEM), replace(served(A_PEM), config=TLS.replace("l.pem", "m.pem"), lists={"/c/m.pem": A_PEM})),
        (served(A_PEM), replace(served(A_PEM), lists={})),
    ],
)
def test_certificate_changes_that_take_a_reload(before: Files, after: Files) -> None:
    assert isinstance(decided(before, after), Reload)


@pytest.mark.parametrize("lost", [B_PEM, LIST])
def test_a_file_that_is_gone_is_a_reload_which_says_so(lost: str) -> None:
    whole = served(A_PEM, B_PEM)
    stored = whole.stored()
    record = AppliedConfig(config=stored.config, digests=stored.digests, crt_lists=stored.crt_lists, worker=WORKER)
    left = replace(
        stored,
        digests={path: digest for path, digest in stored.digests.items() if path != lost},
        crt_lists={path: text for path, text in stored.crt_lists.items() if path != lost},
    )
    decision = decide(record, left, WORKER, Permissions(version=V30))
    assert isinstance(decision, Reload)
    assert "is missing" in decision.reason


def test_a_renewed_certificate_is_renewed_again_under_its_first_name() -> None:
    first = decided(served(A_PEM, B_PEM), served(C_PEM, B_PEM))
    assert isinstance(first, Runtime)
    stored = served(C_PEM, B_PEM).stored()
    record = AppliedConfig(
        config=stored.config,
        digests=stored.digests,
        crt_lists=stored.crt_lists,
        worker=WORKER,
        aliases=first.plan.aliases,
        commits=first.plan.commits,
    )
    again = decided(served(), served(D_PEM, B_PEM), applied=record)
    assert steps(again) == (cert(A_PEM, D_PEM),)
    assert isinstance(again, Runtime)
    assert again.plan.aliases == {D_PEM: A_PEM}
    back = decided(served(), served(A_PEM, B_PEM), applied=record)
    assert steps(back) == (cert(A_PEM, A_PEM),)
    assert isinstance(back, Runtime)
    assert back.plan.aliases == {}
    # The file a.pem comes back beside what is loaded by its name.
    assert isinstance(decided(served(), served(C_PEM, B_PEM, A_PEM), applied=record), Reload)


def two_listeners(first: str, second: str) -> Files:
    config = TLS + TLS.replace("frontend l", "frontend m").replace("l.pem", "m.pem").replace(":443", ":444")
    return Files(config=config, lists={LIST: f"{first}\n", "/c/m.pem": f"{second}\n"})


def test_a_shared_certificate_is_renewed_for_all_or_by_a_reload() -> None:
    both = decided(two_listeners(A_PEM, A_PEM), two_listeners(B_PEM, B_PEM))
    assert steps(both) == (cert(A_PEM, B_PEM),)
    assert isinstance(decided(two_listeners(A_PEM, A_PEM), two_listeners(B_PEM, A_PEM)), Reload)
    assert isinstance(decided(two_listeners(A_PEM, A_PEM), two_listeners(B_PEM, C_PEM)), Reload)
    assert isinstance(decided(two_listeners(A_PEM, B_PEM), two_listeners(B_PEM, A_PEM)), Reload)


def test_a_certificate_of_two_listeners_is_unloaded_once() -> None:
    lists = {LIST: f"{A_PEM}\n{C_PEM}\n", "/c/m.pem": f"{B_PEM}\n{C_PEM}\n"}
    after = two_listeners(A_PEM, B_PEM)
    removed = steps(decided(replace(after, lists=lists), after))
    assert removed == (
        RemoveCertificate(LIST, C_PEM, is_unused=False),
        RemoveCertificate("/c/m.pem", C_PEM, is_unused=True),
    )
    added = steps(decided(after, replace(after, lists=lists)))
    assert added == (AddCertificate(LIST, C_PEM, C_PEM), AddCertificate("/c/m.pem", C_PEM, None))


def test_the_same_name_with_another_content() -> None:
    decision = decided(served(A_PEM), served(A_PEM, contents={A_PEM: "renewed"}))
    assert steps(decision) == (cert(A_PEM, A_PEM),)


def test_a_comment_in_a_crt_list_is_nothing() -> None:
    assert isinstance(decided(served(A_PEM), served(A_PEM, "# a comment")), Nothing | Runtime)
    assert steps(decided(served(A_PEM), served(A_PEM, "# a comment"))) == ()


def test_authorities_are_replaced_under_their_loaded_names() -> None:
    before = served(A_PEM, config=CLIENTS.format(B_PEM, C_PEM))
    decision = decided(before, served(A_PEM, config=CLIENTS.format(D_PEM, E_PEM)))
    assert isinstance(decision, Runtime)
    assert decision.plan.steps == (
        ReplaceFile(FileKind.CA, B_PEM, D_PEM),
        ReplaceFile(FileKind.CRL, C_PEM, E_PEM),
    )
    assert decision.plan.aliases == {D_PEM: B_PEM, E_PEM: C_PEM}
    assert decision.plan.commits == {Commits.AUTHORITY}


def test_authorities_and_certificates_are_never_both_replaced_in_one_process() -> None:
    before = served(A_PEM, config=CLIENTS.format(B_PEM, C_PEM))
    assert isinstance(decided(before, served(D_PEM, config=CLIENTS.format(E_PEM, C_PEM))), Reload)
    stored = before.stored()
    record = AppliedConfig(
        config=stored.config,
        digests=stored.digests,
        crt_lists=stored.crt_lists,
        worker=WORKER,
        commits=frozenset({Commits.CERTIFICATE}),
    )
    assert isinstance(decided(before, served(A_PEM, config=CLIENTS.format(E_PEM, C_PEM)), applied=record), Reload)
    assert isinstance(decided(before, served(D_PEM, config=CLIENTS.format(B_PEM, C_PEM)), applied=record), Runtime)


def test_members_with_tls_use_what_is_loaded() -> None:
    tls = "ssl crt {} ca-file {} verify required"
    before = backend(f"{A} {tls.format(A_PEM, B_PEM)}")
    same = backend(f"{A} {tls.format(A_PEM, B_PEM)}", f"{B} {tls.format(A_PEM, B_PEM)}")
    assert steps(decided(before, same)) == (AddServer("p:l", server(f"{B} {tls.format(A_PEM, B_PEM)}")),)
    renewed = backend(f"{A} {tls.format(C_PEM, B_PEM)}", f"{B} {tls.format(C_PEM, B_PEM)}")
    assert steps(decided(before, renewed)) == (
        cert(A_PEM, C_PEM),
        AddServer("p:l", server(f"{B} {tls.format(A_PEM, B_PEM)}")),
    )
    other = backend(f"{A} {tls.format(A_PEM, B_PEM)}", f"{B} {tls.format(C_PEM, B_PEM)}")
    assert isinstance(decided(before, other), Reload)


def test_a_renewed_file_and_changed_members_go_together() -> None:
    before = served(A_PEM, config=TLS + backend(A, B).config)
    after = served(B_PEM, config=TLS + backend(A.replace("weight 1", "weight 2"), B).config)
    assert steps(decided(before, after)) == (cert(A_PEM, B_PEM), SetWeight("p:l", "a", 2))
