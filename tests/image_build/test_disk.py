"""The disk of an image: its partitions, GRUB's numbers, a root file system that is the same for the same tree."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from amphora_image import grub, root_filesystem, root_tree
from amphora_image.layout import ROOT_LABEL, ROOT_UUID, SECTOR, Layout, Partition
from amphora_image.tools import CannotBuild, run

EPOCH = 1_700_000_000
MIB = 1 << 20


def test_partitions_follow_each_other_and_leave_room_for_both_tables() -> None:
    layout = Layout(mib=2048, arch="amd64")
    assert layout.bios.start >= 34
    assert layout.esp.start == layout.bios.start + layout.bios.sectors
    assert layout.root.start == layout.esp.start + layout.esp.sectors
    assert layout.root.start + layout.root.sectors <= 2048 * MIB // SECTOR - 33
    assert all(part.start % 2048 == 0 for part in (layout.bios, layout.esp, layout.root))


def test_grub_for_bios_finds_its_core_and_the_partition_table_stays(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(range(256)) * 2 + bytes(2 * MIB))
    before = disk.read_bytes()
    boot, core, part = b"\xeb" * SECTOR, b"C" * 1300, Partition(2048, 64)
    with disk.open("r+b") as file:
        grub.write_bios(file.fileno(), boot, core, part)
    after = disk.read_bytes()
    assert after[0x1B8:SECTOR] == before[0x1B8:SECTOR]
    assert struct.unpack_from("<Q", after, 0x5C) == (2048,)
    assert after[0x66:0x68] == b"\x90\x90"
    assert struct.unpack_from("<QHH", after, part.offset + 0x1F4) == (2049, 2, 0x820)
    assert after[part.offset + SECTOR : part.offset + 1300] == b"C" * (1300 - SECTOR)
    assert after[part.offset + 1300 :] == before[part.offset + 1300 :]


def test_grub_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(SECTOR))
    with disk.open("r+b") as file, pytest.raises(CannotBuild, match="does not fit"):
        grub.write_bios(file.fileno(), bytes(SECTOR), bytes(65 * SECTOR), Partition(2048, 64))
    assert disk.read_bytes() == bytes(SECTOR)


def make_tree(root: Path) -> None:
    (root / "etc").mkdir(parents=True)
    (root / "etc/machine-id").write_text("0123")
    (root / "etc/resolv.conf").symlink_to("/run/resolv.conf")
    for number in range(50):
        (root / f"etc/file{number}").write_text("x" * number * 100)
    (root / "dev").mkdir()
    (root / "dev/left-over").touch()


def make_file_system(directory: Path) -> bytes:
    tree, disk, part = directory / "root", directory / "disk", Partition(2048, 96 * 2048)
    make_tree(tree)
    root_tree.settle(tree, "arm64", EPOCH)
    disk.write_bytes(b"")
    os.truncate(disk, 97 * MIB)
    root_filesystem.write_root(disk, part, tree, ROOT_LABEL, ROOT_UUID, EPOCH)
    return disk.read_bytes()


def test_two_builds_of_one_tree_are_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = make_file_system(tmp_path / "one")
    assert one == make_file_system(tmp_path / "two")
    disk = tmp_path / "disk"
    disk.write_bytes(one)
    check = run(["e2fsck", "-f", "-n", f"{disk}?offset={MIB}"], epoch=EPOCH)
    assert "errors" not in check


def test_when_files_came_to_the_building_machine_makes_no_difference(tmp_path: Path) -> None:
    """The root file system is kept from commit to commit, and git leaves unchanged files alone."""
    built, committed = root_tree.BASE_EPOCH + 1000, root_tree.BASE_EPOCH + 2000
    make_tree(tmp_path)
    released = tmp_path / "etc/file1"
    for path in tmp_path.rglob("*"):
        os.utime(path, (built, built), follow_symlinks=False)
    os.utime(released, (EPOCH, EPOCH))
    root_tree.set_base_times(tmp_path, committed)
    assert {path.lstat().st_mtime for path in tmp_path.rglob("*")} == {EPOCH, root_tree.BASE_EPOCH}
    laid_over = tmp_path / "etc/file2"
    os.utime(laid_over, (built, built))
    root_tree.settle(tmp_path, "arm64", committed)
    assert laid_over.stat().st_mtime == committed
    assert released.stat().st_mtime == EPOCH


def test_a_settled_tree_has_nothing_of_its_builder_and_nothing_new(tmp_path: Path) -> None:
    make_tree(tmp_path)
    root_tree.settle(tmp_path, "arm64", EPOCH)
    assert (tmp_path / "etc/machine-id").read_text() == ""
    assert not (tmp_path / "etc/resolv.conf").is_symlink()
    assert list((tmp_path / "dev").iterdir()) == []
    assert oct((tmp_path / "tmp").stat().st_mode)[-4:] == "1777"
    assert max(path.lstat().st_mtime for path in tmp_path.rglob("*")) <= EPOCH
    assert "console=ttyAMA0" in (tmp_path / "boot/grub/grub.cfg").read_text()
