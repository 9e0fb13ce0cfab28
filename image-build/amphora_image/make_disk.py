"""Turns a root file system's tar into a bootable disk, all of it in plain files.

Needs no loop device, mount, device mapper, nor a kernel that reads partition tables. The same tar and SOURCE_DATE_EPOCH
give the same bytes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from amphora_image import grub, root_filesystem, root_tree
from amphora_image.layout import ROOT_LABEL, ROOT_UUID, Layout
from amphora_image.tools import run


def make_disk(tar: Path, target: Path, layout: Layout, epoch: int, lay_over: Callable[[Path], None]) -> None:
    """Write `target`, a compressed qcow2 or, by its name, a raw image.

    Args:
        tar: the root file system.
        target: its directory takes twice the disk's size meanwhile.
        layout: where things lie on it.
        epoch: the time of everything in it, in seconds since 1970.
        lay_over: puts into the tree what the tar lacks.

    Raises:
        CannotBuild: a program failed.
    """
    work = Path(tempfile.mkdtemp(prefix="make-disk.", dir=target.parent))
    try:
        tree, disk = work / "root", work / "disk.raw"
        tree.mkdir()
        attributes = ["--numeric-owner", "--xattrs", "--xattrs-include=*"]
        run(["tar", "-C", str(tree), "-xpf", str(tar), *attributes], epoch=epoch)
        root_tree.set_base_times(tree, epoch)
        lay_over(tree)
        root_tree.settle(tree, layout.arch, epoch)
        with disk.open("wb") as file:
            file.truncate(layout.mib << 20)
        run(["sfdisk", "-q", "--no-reread", "--no-tell-kernel", str(disk)], epoch=epoch, stdin=layout.script())
        root_filesystem.write_root(disk, layout.root, tree, ROOT_LABEL, ROOT_UUID, epoch)
        grub.install(disk, layout, work, epoch)
        if target.suffix == ".raw":
            disk.replace(target)
        else:
            run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", str(disk), str(target)], epoch=epoch)
    finally:
        shutil.rmtree(work)
