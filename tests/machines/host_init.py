"""First process of a host in namespaces: makes the host's root, starts sshd and reaps orphans.

    python host_init.py DISK NAME ADDRESSES PUBLIC_KEY HOST_KEY HIDDEN...

Runs in new mount, process, UTS and IPC namespaces, in the network namespace of the host. The root
is an overlay: the machine's own root below, and what the host writes on DISK, which survives a
power cut. ADDRESSES are lines of /etc/hosts. HIDDEN are folders that are empty on the host.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

_SSHD = (
    *("/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-h", "/etc/ssh/host_key"),
    *("-o", "PermitRootLogin=prohibit-password", "-o", "PasswordAuthentication=no"),
    *("-o", "UsePAM=no", "-o", "StrictModes=no", "-o", "PidFile=none", "-o", "UseDNS=no"),
    *("-o", "MaxStartups=100", "-o", "Subsystem=sftp /usr/lib/openssh/sftp-server"),
)


def main() -> None:
    """Make the root, move into it, and serve SSH until the host is killed."""
    disk, name, addresses, public_key, host_key, *hidden = sys.argv[1:]
    keys = {
        "root/.ssh/authorized_keys": Path(public_key).read_text(encoding="utf-8"),
        "etc/ssh/host_key": Path(host_key).read_text(encoding="utf-8"),
    }
    root = _make_root(Path(disk))
    _mount_devices(root)
    _hide(root, hidden)
    _write(root, {**keys, "etc/hosts": addresses, "etc/resolv.conf": "nameserver 127.0.0.1\n"})
    _run("hostname", name)
    os.chroot(root)
    os.chdir("/")
    subprocess.Popen(_SSHD, stdin=subprocess.DEVNULL)
    while True:  # orphans get this process as their parent
        os.wait()


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def _make_root(disk: Path) -> Path:
    _run("mount", "--make-rprivate", "/")
    upper, work, root = disk / "upper", disk / "work", disk / "root"
    for folder in (upper, work, root):
        folder.mkdir(exist_ok=True)
    layers = f"lowerdir=/,upperdir={upper},workdir={work}"
    _run("mount", "-t", "overlay", "overlay", "-o", layers, str(root))
    return root


def _mount_devices(root: Path) -> None:
    _run("mount", "-t", "proc", "proc", str(root / "proc"))
    for folder in ("sys", "dev"):
        _run("mount", "--rbind", f"/{folder}", str(root / folder))
    _fresh(root / "dev/shm", "2g")  # the object store of this host alone
    _fresh(root / "run", "64m")
    (root / "run/sshd").mkdir(mode=0o755)
    _fresh(root / "tmp/ray", "1g")


def _hide(root: Path, hidden: list[str]) -> None:
    # A token file of the machine's user would turn on Ray's authentication on this host alone.
    if not (root / "etc/ssh/host_key").exists():  # the first boot
        shutil.rmtree(root / "root/.ray", ignore_errors=True)
    for folder in hidden:
        path = root / folder.lstrip("/")
        if path.is_dir():
            _fresh(path, "1g")


def _fresh(folder: Path, size: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))


def _write(root: Path, files: dict[str, str]) -> None:
    (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    for name, text in files.items():
        path = root / name
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
    for name in ("etc/hosts", "etc/resolv.conf"):
        (root / name).chmod(0o644)


if __name__ == "__main__":
    main()
