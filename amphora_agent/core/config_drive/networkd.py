"""Files of systemd-networkd for the management NICs. Never writes one.

Decision: one file per MAC address and none that matches anything else. The NICs of VIP and members are plugged later
and moved into the namespace; networkd must not give them an address on the way, nor may the drive itself: one that the
cloud made anew after they were plugged lists them too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from amphora_agent.core.config_drive.network_data import ManagementNic, NetworkData

FIRST_METRIC = 100
_ALWAYS = "LinkLocalAddressing=ipv6\nLLMNR=no\nMulticastDNS=no\n"
_CLIENT4 = "UseDNS=no\nUseDomains=no\nUseHostname=no\nUseNTP=yes\nClientIdentifier=mac\n"
_CLIENT6 = "UseDNS=no\nUseHostname=no\nUseNTP=yes\nDUIDType=link-layer\n"


def render_networks(network: NetworkData, plugged: Collection[str]) -> dict[str, bytes]:
    """Return file name -> content for every management NIC; the first NIC's default route is the preferred one.

    Args:
        network: what the drive says.
        plugged: MAC addresses in lower case that belong in the load balancer's namespace; they get no file.

    Source: systemd.network(5).
    """
    own = [nic for nic in network.nics if nic.mac not in plugged]
    return {
        f"10-management-{rank}.network": "".join(_sections(nic, FIRST_METRIC * (rank + 1))).encode()
        for rank, nic in enumerate(own)
    }


def render_resolv_conf(network: NetworkData) -> bytes:
    """Return /etc/resolv.conf; without name servers an empty one, so that a look-up fails at once."""
    if not network.name_servers:
        return b""
    servers = "".join(f"nameserver {server}\n" for server in network.name_servers[:3])
    return f"{servers}options timeout:2 attempts:1\n".encode()


def _sections(nic: ManagementNic, metric: int) -> Iterator[str]:
    yield f"[Match]\nMACAddress={nic.mac}\nType=ether\n"
    yield "\n[Link]\nRequiredForOnline=yes\n" + (f"MTUBytes={nic.mtu}\n" if nic.mtu else "")
    dhcp = {(False, False): "no", (True, False): "ipv4", (False, True): "ipv6", (True, True): "yes"}
    advertised = "yes" if nic.is_advertised else "no"
    yield f"\n[Network]\n{_ALWAYS}DHCP={dhcp[nic.is_dhcp4, nic.is_dhcp6]}\nIPv6AcceptRA={advertised}\n"
    if nic.is_dhcp4:
        yield f"\n[DHCPv4]\nRouteMetric={metric}\n{_CLIENT4}"
    if nic.is_advertised:
        yield f"\n[DHCPv6]\n{_CLIENT6}\n[IPv6AcceptRA]\nRouteMetric={metric}\nUseDNS=no\n"
    for address in nic.addresses:
        yield f"\n[Address]\nAddress={address}\n"
    for route in nic.routes:
        yield f"\n[Route]\nDestination={route.destination}\nGateway={route.gateway}\nMetric={metric}\n"
