"""Where things lie on the disk of an image: a GPT with a BIOS boot partition, an ESP and the root file system, last.

Decision: sizes, identifiers and labels are constants. Two builds of one content give the same bytes, and GRUB and the
initial RAM disk find the root by its label on whatever bus the disk appears.
"""

from __future__ import annotations

from dataclasses import dataclass

SECTOR = 512
MIB_SECTORS = 2048
ROOT_LABEL = "amphora-root"
ROOT_UUID = "6f5e3a52-7d0b-4c2e-9a39-0c7b1f1f4a01"
ESP_SERIAL = "A0A0A0A0"
_DISK_ID = "2D5A6C10-0000-4000-8000-0000000000A"
_BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
_ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_ROOTS = {"amd64": "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "arm64": "B921B045-1DF0-41C3-AF44-4C6F280D3FAE"}


@dataclass(frozen=True, slots=True)
class Partition:
    """A run of sectors."""

    start: int
    sectors: int

    @property
    def offset(self) -> int:
        """Where it begins, in bytes."""
        return self.start * SECTOR


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The three partitions of a disk of `mib` MiB; its last MiB is the second partition table's."""

    mib: int
    arch: str

    @property
    def bios(self) -> Partition:
        """GRUB for BIOS machines."""
        return Partition(MIB_SECTORS, MIB_SECTORS)

    @property
    def esp(self) -> Partition:
        """GRUB for UEFI machines."""
        return Partition(2 * MIB_SECTORS, 16 * MIB_SECTORS)

    @property
    def root(self) -> Partition:
        """The root file system, last, so that it grows with the disk."""
        start = self.esp.start + self.esp.sectors
        return Partition(start, self.mib * MIB_SECTORS - start - MIB_SECTORS)

    def script(self) -> str:
        """Return what sfdisk(8) reads."""
        rows = ((self.bios, _BIOS_BOOT, "bios"), (self.esp, _ESP, "esp"), (self.root, _ROOTS[self.arch], "root"))
        lines = (
            f"start={part.start}, size={part.sectors}, type={kind}, name={name}, uuid={_DISK_ID}{number}\n"
            for number, (part, kind, name) in enumerate(rows, 1)
        )
        return f"label: gpt\nlabel-id: {_DISK_ID}0\nunit: sectors\n{''.join(lines)}"
