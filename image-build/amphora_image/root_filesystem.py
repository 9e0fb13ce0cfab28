"""Writes the root file system into its partition of a disk file: the same bytes for the same tree. Never mounts it."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path

from amphora_image.layout import SECTOR, Partition
from amphora_image.tools import run

_FIRST_INODE = 11
_ROOT_INODE = 2
_SUPERBLOCK = 1024


def write_root(disk: Path, part: Partition, tree: Path, label: str, uuid: str, epoch: int) -> None:
    """Make an ext4 file system that holds the tree.

    No metadata_csum_seed: GRUB 2.06 may not read what a newer mke2fs makes by default.
    """
    options = [
        "-L",
        label,
        "-U",
        uuid,
        "-m",
        "1",
        "-i",
        "8192",
        "-J",
        "size=16",
        "-O",
        "^metadata_csum_seed,^orphan_file",
    ]
    extended = f"offset={part.offset},hash_seed={uuid},lazy_itable_init=0,lazy_journal_init=0"
    size = f"{part.sectors * SECTOR // 1024}k"
    run(["mkfs.ext4", "-q", "-F", *options, "-E", extended, "-d", str(tree), str(disk), size], epoch=epoch)
    pin_times(disk, part, epoch)


def pin_times(disk: Path, part: Partition, epoch: int) -> None:
    """Set the times that mke2fs before 1.47.1 copies from the build tree: last access, change and creation."""
    file_system = f"{disk}?offset={part.offset}"
    last = inodes_in_use(disk, part)
    stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(epoch))
    run(["debugfs", "-w", "-f", "-", file_system], epoch=epoch, stdin="".join(_commands(last, stamp)))


def _commands(last: int, stamp: str) -> Iterator[str]:
    for inode in (_ROOT_INODE, *range(_FIRST_INODE, last + 1)):
        for field in ("atime", "ctime", "crtime"):
            yield f"sif <{inode}> {field} {stamp}\nsif <{inode}> {field}_extra 0\n"


def inodes_in_use(disk: Path, part: Partition) -> int:
    """Return how many inodes a new file system uses, those that it keeps for itself included.

    Source: struct ext2_super_block: s_inodes_count and s_free_inodes_count.
    """
    with disk.open("rb") as file:
        file.seek(part.offset + _SUPERBLOCK)
        count, free = struct.unpack("<I12xI", file.read(20))
    return int(count) - int(free)
