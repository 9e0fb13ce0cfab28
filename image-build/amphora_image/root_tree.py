"""Makes the tree that diskimage-builder left the same for every build, and tells it of the disk that it is put on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from amphora_image.layout import ROOT_LABEL
from amphora_image.tools import run

# When all was made that Debian and the builder make. Not the commit's time: that tree is kept from commit to commit.
BASE_EPOCH = 1750000000
# What differs from build to build, describes the machine that built it, or is filled at boot.
_REMOVED = (
    "etc/dib-manifests",
    "etc/resolv.conf",
    "etc/resolv.conf.ORIG",
    "etc/machine-id",
    "var/lib/dbus/machine-id",
    "var/cache/ldconfig",
    "lost+found",
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "boot/grub",
)
_MOUNT_POINTS = {"dev": 0o755, "proc": 0o555, "sys": 0o555, "run": 0o755, "tmp": 0o1777}
_CONSOLES = {"amd64": "console=tty0 console=ttyS0,115200n8", "arm64": "console=tty0 console=ttyAMA0"}
# Memory: the kernel keeps 100 MB free for huge pages in a machine of 1 GB, and makes small processes large with them.
# Landlock confines the check of uploads; of the other security modules none has a policy in the image, and IMA's
# measurements cost memory and time. To charge its own memory to single units, the kernel takes 4 MB at once. Nobody
# mounts the ESP.
_KERNEL_OPTIONS = "transparent_hugepage=never lsm=landlock,lockdown,yama cgroup.memory=nokmem systemd.gpt_auto=0"
_FILES = {
    # Empty: a look-up fails at once where the drive names no server; keepalived would wait for one.
    "etc/resolv.conf": "",
    "etc/machine-id": "",
    "etc/fstab": f"LABEL={ROOT_LABEL} / ext4 defaults,noatime,errors=remount-ro,x-systemd.growfs 0 1\n",
    "usr/lib/repart.d/50-root.conf": "[Partition]\nType=root\n",
}
_PYTHON = ("usr/lib/python3", "opt/amphora-agent")


def set_base_times(root: Path, epoch: int) -> None:
    """Give everything that was made with the tree BASE_EPOCH, or `epoch` when that is earlier."""
    _set_times(root, min(BASE_EPOCH, epoch), epoch)


def settle(root: Path, arch: str, epoch: int) -> None:
    """Make the tree final; what came to it after `set_base_times` has the time `epoch`."""
    for name in _REMOVED:
        remove(root / name)
    for name, mode in _MOUNT_POINTS.items():
        (root / name).mkdir()
        (root / name).chmod(mode)
    for name, text in _FILES.items():
        write(root / name, text)
    write(root / "boot/grub/grub.cfg", menu(arch))
    if arch == native_arch():
        compile_python(root, epoch)
    _set_times(root, epoch, epoch)


def menu(arch: str) -> str:
    """Return grub.cfg: one kernel, no menu, nothing to wait for."""
    line = f"root=LABEL={ROOT_LABEL} ro {_CONSOLES[arch]} panic=10 {_KERNEL_OPTIONS}"
    return f"linux /vmlinuz {line}\ninitrd /initrd.img\nboot\n"


def native_arch() -> str:
    """Return this machine's architecture in Debian's word."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def compile_python(root: Path, epoch: int) -> None:
    """Compile all Python there is, without the sources' times: a file that these make stale costs every boot."""
    places = [f"/{place}" for place in _PYTHON if (root / place).is_dir()]
    places += [f"/{path.relative_to(root)}" for path in sorted(root.glob("usr/lib/python3.[0-9]*"))]
    options = ["-q", "-f", "--invalidation-mode", "unchecked-hash"]
    run(["chroot", str(root), "/usr/bin/python3", "-m", "compileall", *options, *places], epoch=epoch)


def _set_times(root: Path, time: int, epoch: int) -> None:
    """Give that time to everything that is newer than the base of an image of `epoch` may be."""
    newest = min(BASE_EPOCH, epoch)
    for directory, directories, names in os.walk(root, topdown=False):
        for name in (*names, *directories, "."):
            path = os.path.join(directory, name)  # noqa: PTH118 - ten thousand of them
            if os.lstat(path).st_mtime > newest:
                os.utime(path, (time, time), follow_symlinks=False)


def remove(path: Path) -> None:
    """Remove a file or a tree; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write(path: Path, text: str) -> None:
    """Write a file anew, in place of a link too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(path)
    path.write_text(text)
