"""Every path the agent reads or writes, from the settings. Builds names; never touches the disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amphora_agent.core.ids import ListenerId, LoadBalancerId, PemName
from amphora_agent.core.settings import Settings

NETNS_DIR = Path("/var/run/netns")


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """All files of one amphora; with the default settings they are the contract's paths.

    `base` holds the contract's files, `agent` (below it) what we add beside them.
    """

    base: Path
    certs: Path
    interfaces: Path
    agent_cert: Path
    agent_ca: Path
    netns: Path

    @property
    def agent(self) -> Path:
        """Directory of our additions."""
        return self.base / "agent"

    @property
    def counters(self) -> Path:
        """Last absolute listener counters; written by the heartbeat process only."""
        return self.base / "stats_counters.json"

    @property
    def plugged_interfaces(self) -> Path:
        """Lines `<mac> <name>` of every NIC ever moved into the namespace."""
        return self.base / "plugged_interfaces"

    @property
    def user_group(self) -> Path:
        """HAProxy's group, written by the image build; absent outside an image."""
        return self.base / "haproxy-default-user-group.conf"

    @property
    def nftables_rules(self) -> Path:
        """The SR-IOV filter of the VIP interface."""
        return self.base / "nftables-vip.rules"

    def interface(self, name: str) -> Path:
        """Desired state of one interface in the namespace."""
        return self.interfaces / f"{name}.json"

    def loadbalancer(self, lb_id: LoadBalancerId) -> Path:
        """Directory of one HAProxy load balancer."""
        return self.base / lb_id

    def haproxy_config(self, lb_id: LoadBalancerId) -> Path:
        """Stored configuration; its existence defines the load balancer."""
        return self.base / lb_id / "haproxy.cfg"

    def haproxy_pid(self, lb_id: LoadBalancerId) -> Path:
        """Written by HAProxy: the master's pid."""
        return self.base / lb_id / f"{lb_id}.pid"

    def stats_socket(self, lb_id: LoadBalancerId) -> Path:
        """The controller's own stats socket (`level user`)."""
        return self.base / f"{lb_id}.sock"

    def servers_state(self, lb_id: LoadBalancerId) -> Path:
        """Server states carried over a reload."""
        return self.base / lb_id / "servers-state"

    def loadbalancer_agent(self, lb_id: LoadBalancerId) -> Path:
        """Directory of our additions for one load balancer."""
        return self.agent / lb_id

    def haproxy_agent_config(self, lb_id: LoadBalancerId) -> Path:
        """Our own HAProxy file, loaded after the controller's: admin socket, limits."""
        return self.agent / lb_id / "agent.cfg"

    def haproxy_environment(self, lb_id: LoadBalancerId) -> Path:
        """EnvironmentFile of the template unit: command, files, peer name."""
        return self.agent / lb_id / "haproxy.env"

    def admin_socket(self, lb_id: LoadBalancerId) -> Path:
        """HAProxy's runtime API at level admin."""
        return self.agent / lb_id / "admin.sock"

    def master_socket(self, lb_id: LoadBalancerId) -> Path:
        """HAProxy's master CLI."""
        return self.agent / lb_id / "master.sock"

    def applied(self, lb_id: LoadBalancerId) -> Path:
        """What the running HAProxy was last given."""
        return self.agent / lb_id / "applied.json"

    def removing(self, lb_id: LoadBalancerId) -> Path:
        """Members being removed at run time, hidden from heartbeats: pool key -> member id -> since when; optional."""
        return self.agent / lb_id / "removing.json"

    def reload_only(self, lb_id: LoadBalancerId) -> Path:
        """Why this HAProxy is reloaded at every change; gone at the agent's next start."""
        return self.agent / lb_id / "reload-only"

    def replaced_worker(self, lb_id: LoadBalancerId) -> Path:
        """What the worker replaced by the last reload had counted by then, for heartbeats."""
        return self.agent / lb_id / "replaced-worker.json"

    def process_log(self, lb_id: LoadBalancerId) -> Path:
        """What HAProxy itself printed, where no journal keeps it (direct supervisor)."""
        return self.agent / lb_id / "haproxy.log"

    def cert_dir(self, lb_id: LoadBalancerId) -> Path:
        """Certificates, CAs, CRLs and crt-lists of one load balancer."""
        return self.certs / lb_id

    def cert(self, lb_id: LoadBalancerId, name: PemName) -> Path:
        """One certificate file."""
        return self.certs / lb_id / name

    def condemned(self, lb_id: LoadBalancerId) -> Path:
        """Names of certificate files that are deleted for the controller, and needed still by what runs; optional."""
        return self.agent / lb_id / "condemned.json"

    @property
    def lvs(self) -> Path:
        """Directory of the keepalived configurations of UDP and SCTP listeners."""
        return self.base / "lvs"

    def lvs_config(self, listener_id: ListenerId) -> Path:
        """Stored keepalived configuration; its existence defines the LVS listener."""
        return self.lvs / f"octavia-keepalivedlvs-{listener_id}.conf"

    def lvs_pid(self, listener_id: ListenerId) -> Path:
        """Written by keepalived: the parent's pid."""
        return self.lvs / f"octavia-keepalivedlvs-{listener_id}.pid"

    def lvs_vrrp_pid(self, listener_id: ListenerId) -> Path:
        """Pid file of keepalived's VRRP child, which LVS listeners do not have; named so that nothing else is used."""
        return self.lvs / f"octavia-keepalivedlvs-{listener_id}.vrrp.pid"

    def lvs_check_pid(self, listener_id: ListenerId) -> Path:
        """Written by keepalived: the checker child's pid."""
        return self.lvs / f"octavia-keepalivedlvs-{listener_id}.check.pid"

    @property
    def udp_check(self) -> Path:
        """The check of UDP members, named in the controller's configurations."""
        return self.lvs / "check" / "udp_check.sh"

    def lvs_agent(self, listener_id: ListenerId) -> Path:
        """Directory of our additions for one LVS listener."""
        return self.agent / "lvs" / listener_id

    def lvs_applied(self, listener_id: ListenerId) -> Path:
        """What the running keepalived was last given."""
        return self.lvs_agent(listener_id) / "applied.json"

    def lvs_changed(self, listener_id: ListenerId) -> Path:
        """When the listener last changed, for heartbeats: members may not have settled yet."""
        return self.lvs_agent(listener_id) / "changed"

    def lvs_log(self, listener_id: ListenerId) -> Path:
        """What its keepalived printed, where no journal keeps it."""
        return self.lvs_agent(listener_id) / "keepalived.log"

    @property
    def vrrp(self) -> Path:
        """Directory of VRRP."""
        return self.base / "vrrp"

    @property
    def vrrp_check_script(self) -> Path:
        """The check named in the controller's VRRP configuration; it runs all of `vrrp_checks`."""
        return self.vrrp / "check_script.sh"

    @property
    def vrrp_checks(self) -> Path:
        """Directory of the single checks."""
        return self.vrrp / "check_scripts"

    @property
    def vrrp_haproxy_check(self) -> Path:
        """The check that every HAProxy answers."""
        return self.vrrp_checks / "haproxy_check_script.sh"

    @property
    def vrrp_lvs_check(self) -> Path:
        """The check that every LVS keepalived lives."""
        return self.vrrp_checks / "lvs_udp_check.sh"

    @property
    def vrrp_agent(self) -> Path:
        """Directory of our additions for VRRP."""
        return self.agent / "vrrp"

    @property
    def vrrp_applied(self) -> Path:
        """What the running VRRP keepalived was last given."""
        return self.vrrp_agent / "applied.json"

    @property
    def vrrp_child_pid(self) -> Path:
        """Written by keepalived: its VRRP child's pid; the built-in place is one for the whole machine."""
        return self.vrrp_agent / "child.pid"

    @property
    def vrrp_resigned(self) -> Path:
        """There while the agent keeps keepalived stopped because HAProxy cannot be kept running."""
        return self.vrrp_agent / "resigned"

    @property
    def vrrp_log(self) -> Path:
        """What the VRRP keepalived printed, where no journal keeps it."""
        return self.vrrp_agent / "keepalived.log"

    def reloading(self, lb_id: LoadBalancerId) -> Path:
        """Until when HAProxy may be silent: `haproxy-vrrp-check` finds it from the stats socket's path."""
        return self.agent / lb_id / "reloading"

    def stopped(self, lb_id: LoadBalancerId) -> Path:
        """There after the load balancer was stopped on purpose; no check expects its HAProxy then."""
        return self.agent / lb_id / "stopped"

    def dhcp_leases(self, name: str) -> Path:
        """The DHCP client's leases of one interface; another amphora on this machine has its own."""
        default = self.netns == NETNS_DIR / Settings().netns
        return (Path("/var/lib/dhclient") if default else self.agent / "dhclient") / f"dhclient-{name}.leases"

    def dhcp_pid(self, name: str) -> Path:
        """The DHCP client's process id."""
        default = self.netns == NETNS_DIR / Settings().netns
        return (Path("/run") if default else self.agent / "dhclient") / f"dhclient-{name}.pid"

    @property
    def vrrp_config(self) -> Path:
        """keepalived's VRRP configuration; its existence silences heartbeats while keepalived is down."""
        return self.base / "vrrp" / "octavia-keepalived.conf"

    @property
    def vrrp_pid(self) -> Path:
        """Written by keepalived: the VRRP instance's pid."""
        return self.base / "vrrp" / "octavia-keepalived.pid"


def paths_of(settings: Settings) -> Paths:
    """Return the paths that follow from the settings."""
    return Paths(
        base=Path(settings.base_path),
        certs=Path(settings.base_cert_dir),
        interfaces=Path(settings.agent_server_network_dir),
        agent_cert=Path(settings.agent_server_cert),
        agent_ca=Path(settings.agent_server_ca),
        netns=NETNS_DIR / settings.netns,
    )
