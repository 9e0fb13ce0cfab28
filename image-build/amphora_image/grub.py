"""Makes GRUB's programs and puts them where firmware looks: block lists for BIOS, a file in the ESP for UEFI.

Decision: written into the disk file byte by byte, because grub-install wants a block device, a device mapper and a
mounted root. What it would do for a BIOS boot partition is three numbers.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from amphora_image.layout import ESP_SERIAL, ROOT_LABEL, SECTOR, Layout, Partition
from amphora_image.tools import CannotBuild, run

GRUB = Path("/usr/lib/grub")
_MODULES = ("part_gpt", "ext2", "search", "search_label", "linux", "normal", "configfile", "echo", "test")
_EFI = {"amd64": ("x86_64-efi", "BOOTX64.EFI"), "arm64": ("arm64-efi", "BOOTAA64.EFI")}
_EARLY = f"""\
search --no-floppy --set=root --label {ROOT_LABEL}
set prefix=($root)/boot/grub
configfile $prefix/grub.cfg
"""
# In boot.img: where the sector of core.img stands, and the jump that keeps the drive number of a hard disk.
_KERNEL_SECTOR, _DRIVE_CHECK, _BOOT_CODE = 0x5C, 0x66, 0x1B8
_NO_OPERATION = 0x9090
# In core.img's first sector: the block list of the rest; it is loaded to this segment.
_BLOCK_LIST, _SEGMENT = 0x1F4, 0x820


def missing_grub(arch: str) -> list[str]:
    """Return the Debian packages whose GRUB this machine lacks."""
    packages = {"grub-pc-bin": "i386-pc", "grub-efi-amd64-bin": "x86_64-efi"}
    if arch == "arm64":
        packages = {"grub-efi-arm64-bin": "arm64-efi"}
    return [package for package, platform in packages.items() if not (GRUB / platform / "moddep.lst").exists()]


def install(disk: Path, layout: Layout, work: Path, epoch: int) -> None:
    """Make the disk bootable by UEFI, and by BIOS where the architecture has one."""
    early = work / "early.cfg"
    early.write_text(_EARLY)
    if layout.arch == "amd64":
        core = _program(work / "core.img", "i386-pc", ("biosdisk", *_MODULES), early, epoch)
        boot = (GRUB / "i386-pc/boot.img").read_bytes()
        with disk.open("r+b") as file:
            write_bios(file.fileno(), boot, core.read_bytes(), layout.bios)
    platform, name = _EFI[layout.arch]
    program = _program(work / name, platform, _MODULES, early, epoch)
    _write_esp(disk, layout.esp, program, work / "esp.img", epoch)


def write_bios(disk: int, boot: bytes, core: bytes, part: Partition) -> None:
    """Put core.img into its partition and boot.img into the first sector, beside the protective partition table.

    Source: GRUB manual, "BIOS installation"; boot.S and diskboot.S of GRUB say what lies at which offset.
    """
    sectors = -(-len(core) // SECTOR)
    if sectors > part.sectors:
        raise CannotBuild("GRUB does not fit into its partition")
    image = bytearray(core.ljust(sectors * SECTOR, b"\0"))
    struct.pack_into("<QHH", image, _BLOCK_LIST, part.start + 1, sectors - 1, _SEGMENT)
    first = bytearray(os.pread(disk, SECTOR, 0))
    first[:_BOOT_CODE] = boot[:_BOOT_CODE]
    struct.pack_into("<Q", first, _KERNEL_SECTOR, part.start)
    struct.pack_into("<H", first, _DRIVE_CHECK, _NO_OPERATION)
    os.pwrite(disk, first, 0)
    os.pwrite(disk, image, part.offset)


def _program(target: Path, platform: str, modules: tuple[str, ...], early: Path, epoch: int) -> Path:
    options = ["-O", platform, "-d", str(GRUB / platform), "-p", "/boot/grub", "-c", str(early), "-o", str(target)]
    run(["grub-mkimage", *options, *modules], epoch=epoch)
    os.utime(target, (epoch, epoch))
    return target


def _write_esp(disk: Path, part: Partition, program: Path, image: Path, epoch: int) -> None:
    with image.open("wb") as file:
        file.truncate(part.sectors * SECTOR)
    run(["mkfs.vfat", "--invariant", "-n", "ESP", "-i", ESP_SERIAL, str(image)], epoch=epoch)
    run(["mmd", "-i", str(image), "::EFI", "::EFI/BOOT"], epoch=epoch)
    run(["mcopy", "-m", "-i", str(image), str(program), f"::EFI/BOOT/{program.name}"], epoch=epoch)
    with disk.open("r+b") as file:
        file.seek(part.offset)
        file.write(image.read_bytes())
