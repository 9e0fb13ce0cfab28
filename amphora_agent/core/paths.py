"""Every path the agent reads or writes, from the settings. Builds names; never touches the disk.

`Paths` has what there is one of, and hands out the files of one load balancer, one LVS listener or VRRP as a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from amphora_agent.core.ids import ListenerId, LoadBalancerId, PemName
from amphora_agent.core.settings import Settings

NETNS_DIR = Path("/var/run/netns")


@dataclass(frozen=True)
class LoadBalancerPaths:
    """The files of one HAProxy load balancer."""

    base: Path
    certs_base: Path
    lb_id: LoadBalancerId

    @cached_property
    def directory(self) -> Path:
        """The contract's directory of it."""
        return self.base / self.lb_id

    @cached_property
    def config(self) -> Path:
        """Stored configuration; its existence defines the load balancer."""
        return self.directory / "haproxy.cfg"

    @cached_property
    def pid(self) -> Path:
        """Written by HAProxy: the master's pid."""
        return self.directory / f"{self.lb_id}.pid"

    @cached_property
    def stats_socket(self) -> Path:
        """The controller's own stats socket (`level user`)."""
        return self.base / f"{self.lb_id}.sock"

    @cached_property
    def servers_state(self) -> Path:
        """Server states carried over a reload."""
        return self.directory / "servers-state"

    @cached_property
    def agent(self) -> Path:
        """Directory of our additions."""
        return self.base / "agent" / self.lb_id

    @cached_property
    def agent_config(self) -> Path:
        """Our own HAProxy file, loaded after the controller's: admin socket, limits."""
        return self.agent / "agent.cfg"

    @cached_property
    def environment(self) -> Path:
        """EnvironmentFile of the template unit: command, files, peer name."""
        return self.agent / "haproxy.env"

    @cached_property
    def admin_socket(self) -> Path:
        """HAProxy's runtime API at level admin."""
        return self.agent / "admin.sock"

    @cached_property
    def master_socket(self) -> Path:
        """HAProxy's master CLI."""
        return self.agent / "master.sock"

    @cached_property
    def applied(self) -> Path:
        """What the running HAProxy was last given."""
        return self.agent / "applied.json"

    @cached_property
    def accepted(self) -> Path:
        """The last configuration HAProxy accepted as a whole, while it accepted only the changes of the stored one."""
        return self.agent / "accepted.cfg"

    @cached_property
    def removing(self) -> Path:
        """Members being removed at run time, hidden from heartbeats; optional."""
        return self.agent / "removing.json"

    @cached_property
    def reload_only(self) -> Path:
        """Why this HAProxy is reloaded at every change; gone at the agent's next start."""
        return self.agent / "reload-only"

    @cached_property
    def replaced_worker(self) -> Path:
        """What the worker replaced by the last reload had counted by then, for heartbeats."""
        return self.agent / "replaced-worker.json"

    @cached_property
    def log(self) -> Path:
        """What HAProxy itself printed, where no journal keeps it (direct supervisor)."""
        return self.agent / "haproxy.log"

    @cached_property
    def reloading(self) -> Path:
        """Until when HAProxy may be silent: `haproxy-vrrp-check` finds it from the stats socket's path."""
        return self.agent / "reloading"

    @cached_property
    def stopped(self) -> Path:
        """There after the load balancer was stopped on purpose; no check expects its HAProxy then."""
        return self.agent / "stopped"

    @cached_property
    def condemned(self) -> Path:
        """Names of certificate files that are deleted for the controller, and needed still by what runs; optional."""
        return self.agent / "condemned.json"

    @cached_property
    def drained(self) -> Path:
        """Servers of a controller's load balancer that an operator drained at run time; optional."""
        return self.agent / "drained.json"

    @cached_property
    def deleted(self) -> Path:
        """Where a deletion moves the contract's directory to; what is there is to be removed."""
        return self.agent / "deleted"

    @cached_property
    def certs(self) -> Path:
        """Directory of its certificates, CAs, CRLs and crt-lists."""
        return self.certs_base / self.lb_id

    def cert(self, name: PemName) -> Path:
        """One certificate file."""
        return self.certs / name


@dataclass(frozen=True)
class LvsPaths:
    """The files of one UDP or SCTP listener and its keepalived."""

    base: Path
    listener_id: ListenerId

    @cached_property
    def config(self) -> Path:
        """Stored keepalived configuration; its existence defines the LVS listener."""
        return self._beside("conf")

    @cached_property
    def pid(self) -> Path:
        """Written by keepalived: the parent's pid."""
        return self._beside("pid")

    @cached_property
    def vrrp_pid(self) -> Path:
        """Pid file of keepalived's VRRP child, which LVS listeners do not have; named so that nothing else is used."""
        return self._beside("vrrp.pid")

    @cached_property
    def check_pid(self) -> Path:
        """Written by keepalived: the checker child's pid."""
        return self._beside("check.pid")

    @cached_property
    def agent(self) -> Path:
        """Directory of our additions."""
        return self.base / "agent" / "lvs" / self.listener_id

    @cached_property
    def applied(self) -> Path:
        """What the running keepalived was last given."""
        return self.agent / "applied.json"

    @cached_property
    def changed(self) -> Path:
        """When the listener last changed, for heartbeats: members may not have settled yet."""
        return self.agent / "changed"

    @cached_property
    def document(self) -> Path:
        """There when a document of API 2.0 made this listener; says whose it is."""
        return self.agent / "document"

    @cached_property
    def log(self) -> Path:
        """What its keepalived printed, where no journal keeps it."""
        return self.agent / "keepalived.log"

    def _beside(self, suffix: str) -> Path:
        return self.base / "lvs" / f"octavia-keepalivedlvs-{self.listener_id}.{suffix}"


@dataclass(frozen=True)
class VrrpPaths:
    """The files of VRRP and its keepalived."""

    base: Path

    @cached_property
    def directory(self) -> Path:
        """The contract's directory of it."""
        return self.base / "vrrp"

    @cached_property
    def config(self) -> Path:
        """keepalived's configuration; its existence silences heartbeats while keepalived is down."""
        return self.directory / "octavia-keepalived.conf"

    @cached_property
    def pid(self) -> Path:
        """Written by keepalived: the VRRP instance's pid."""
        return self.directory / "octavia-keepalived.pid"

    @cached_property
    def check_script(self) -> Path:
        """The check named in the controller's configuration; it runs all of `checks`."""
        return self.directory / "check_script.sh"

    @cached_property
    def checks(self) -> Path:
        """Directory of the single checks."""
        return self.directory / "check_scripts"

    @cached_property
    def haproxy_check(self) -> Path:
        """The check that every HAProxy answers."""
        return self.checks / "haproxy_check_script.sh"

    @cached_property
    def lvs_check(self) -> Path:
        """The check that every LVS keepalived lives."""
        return self.checks / "lvs_udp_check.sh"

    @cached_property
    def agent(self) -> Path:
        """Directory of our additions."""
        return self.base / "agent" / "vrrp"

    @cached_property
    def applied(self) -> Path:
        """What the running keepalived was last given."""
        return self.agent / "applied.json"

    @cached_property
    def document(self) -> Path:
        """There when a document of API 2.0 wants this keepalived; says whose it is."""
        return self.agent / "document"

    @cached_property
    def child_pid(self) -> Path:
        """Written by keepalived: its VRRP child's pid; the built-in place is one for the whole machine."""
        return self.agent / "child.pid"

    @cached_property
    def resigned(self) -> Path:
        """There while the agent keeps keepalived stopped because HAProxy cannot be kept running."""
        return self.agent / "resigned"

    @cached_property
    def log(self) -> Path:
        """What keepalived printed, where no journal keeps it."""
        return self.agent / "keepalived.log"


@dataclass(frozen=True)
class DocumentPaths:
    """The files of one load balancer of API 2.0, all in one directory, beside those of what serves it."""

    directory: Path

    @cached_property
    def current(self) -> Path:
        """The document as it was applied last; its existence makes the load balancer API 2.0's."""
        return self.directory / "current.json"

    @cached_property
    def unfinished(self) -> Path:
        """There while a change is under way: after a crash, what `current` says is brought about again."""
        return self.directory / "unfinished.json"

    @property
    def adopted(self) -> Path:
        """What a controller had here, while a document takes it over."""
        return self.directory / "adopted.json"

    def revision(self, generation: int) -> Path:
        """One of the last documents."""
        return self.directory / f"revision-{generation}.json"


@dataclass(frozen=True, kw_only=True)
class Paths:
    """All files of one amphora; with the default settings they are the contract's paths.

    `base` holds the contract's files, `agent` (below it) what we add beside them.
    """

    base: Path
    certs: Path
    interfaces: Path
    agent_cert: Path
    netns: Path

    @cached_property
    def agent(self) -> Path:
        """Directory of our additions."""
        return self.base / "agent"

    @cached_property
    def counters(self) -> Path:
        """Last absolute listener counters; written by the heartbeat process only."""
        return self.base / "stats_counters.json"

    @cached_property
    def plugged_interfaces(self) -> Path:
        """Lines `<mac> <name>` of every NIC ever moved into the namespace."""
        return self.base / "plugged_interfaces"

    @cached_property
    def ping_wrapper(self) -> Path:
        """The external check of PING monitors, written by the image build."""
        return self.base / "ping-wrapper.sh"

    @cached_property
    def user_group(self) -> Path:
        """HAProxy's group, written by the image build; absent outside an image."""
        return self.base / "haproxy-default-user-group.conf"

    @cached_property
    def metrics(self) -> Path:
        """Directory of one record per process of ours, for `prometheus-proxy`, which is another user's."""
        return self.base / "metrics"

    @cached_property
    def agent_metrics(self) -> Path:
        """The agent's record."""
        return self.metrics / "agent"

    @cached_property
    def heartbeat_metrics(self) -> Path:
        """The heartbeat process's record."""
        return self.metrics / "heartbeat"

    @cached_property
    def heartbeat_troubles(self) -> Path:
        """What keeps heartbeats from being made or delivered, for `amphoractl doctor`."""
        return self.agent / "heartbeat-troubles.json"

    @cached_property
    def metrics_proxy(self) -> Path:
        """There while `prometheus-proxy` is wanted, because of a PROMETHEUS listener; says in which namespace."""
        return self.agent / "prometheus-proxy"

    @cached_property
    def metrics_proxy_log(self) -> Path:
        """What `prometheus-proxy` printed, where no journal keeps it."""
        return self.agent / "prometheus-proxy.log"

    @cached_property
    def nftables_rules(self) -> Path:
        """The SR-IOV filter of the VIP interface."""
        return self.base / "nftables-vip.rules"

    @cached_property
    def lvs_directory(self) -> Path:
        """Directory of the keepalived configurations of UDP and SCTP listeners."""
        return self.base / "lvs"

    @cached_property
    def udp_check(self) -> Path:
        """The check of UDP members, named in the controller's configurations."""
        return self.lvs_directory / "check" / "udp_check.sh"

    @cached_property
    def vrrp(self) -> VrrpPaths:
        """The files of VRRP."""
        return VrrpPaths(self.base)

    def loadbalancer(self, lb_id: LoadBalancerId) -> LoadBalancerPaths:
        """Return the files of one HAProxy load balancer."""
        return LoadBalancerPaths(self.base, self.certs, lb_id)

    def lvs(self, listener_id: ListenerId) -> LvsPaths:
        """Return the files of one UDP or SCTP listener."""
        return LvsPaths(self.base, listener_id)

    @cached_property
    def documents(self) -> Path:
        """Directory of the load balancers of API 2.0; absent before the first."""
        return self.agent / "documents"

    def document(self, lb_id: LoadBalancerId) -> DocumentPaths:
        """Return the files of one load balancer of API 2.0."""
        return DocumentPaths(self.documents / lb_id)

    @cached_property
    def secrets(self) -> Path:
        """Directory of API 2.0's secrets, one file each, where the load balancers' own certificates are."""
        return self.certs / "secrets"

    def interface(self, name: str) -> Path:
        """Desired state of one interface in the namespace."""
        return self.interfaces / f"{name}.json"

    def dhcp_leases(self, name: str) -> Path:
        """The DHCP client's leases of one interface; another amphora on this machine has its own."""
        default = self.netns == NETNS_DIR / Settings().netns
        return (Path("/var/lib/dhclient") if default else self.agent / "dhclient") / f"dhclient-{name}.leases"

    def dhcp_pid(self, name: str) -> Path:
        """The DHCP client's process id."""
        default = self.netns == NETNS_DIR / Settings().netns
        return (Path("/run") if default else self.agent / "dhclient") / f"dhclient-{name}.pid"


def paths_of(settings: Settings) -> Paths:
    """Return the paths that follow from the settings."""
    return Paths(
        base=Path(settings.base_path),
        certs=Path(settings.base_cert_dir),
        interfaces=Path(settings.agent_server_network_dir),
        agent_cert=Path(settings.agent_server_cert),
        netns=NETNS_DIR / settings.netns,
    )
