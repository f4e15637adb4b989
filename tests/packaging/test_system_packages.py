"""The Debian packages of the tests are installed when they are missing, and only then."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from constellation.settings import child_environment

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "system_packages.sh"
COMMANDS = ("bash", "chmod", "env", "id", "paste", "rm", "sort", "sudo", "tee", "timeout", "true")
WATCHING = ("chromium", "prometheus", "promtool")
HOSTS = ("ip", "ssh", "ssh-keygen", "sshd", "rsync")
"""Programs for hosts in namespaces."""
APT_GET = """#!/bin/sh
"$POLICY_RC_D"; echo "policy $? $DEBIAN_FRONTEND" "$@" >> {log}
case "$*" in *{fails}*) exit 100;; esac
case "$*" in *--no-download*) for name in {brings}; do
  printf '#!/bin/sh\\n' > {folder}/$name && chmod +x {folder}/$name; done;; esac
"""


class Machine:
    """A machine whose only programs lie in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder / "bin", folder / "apt.log"
        self.policy = folder / "policy-rc.d"
        self.folder.mkdir()
        for command in COMMANDS:
            if found := shutil.which(command):
                (self.folder / command).symlink_to(found)

    def has(self, *programs: str) -> None:
        for program in programs:
            self._write(program, "#!/bin/sh\n")

    def has_apt_get(self, *, fails: str = "nothing", brings: str) -> None:
        values = {"log": self.log, "fails": fails, "brings": brings, "folder": self.folder}
        self._write("apt-get", APT_GET.format(**values))

    def run(self) -> subprocess.CompletedProcess[str]:
        """Run the script with the programs of this machine."""
        bash = shutil.which("bash") or "bash"
        folder = str(self.folder)
        changed = {"PATH": folder, "SYSTEM_SBIN": folder, "POLICY_RC_D": str(self.policy)}
        return subprocess.run(
            [bash, SCRIPT],
            env=child_environment(changed),
            text=True,
            capture_output=True,
            timeout=60,
            check=False,
        )

    def asked(self) -> list[str]:
        """Return what the policy for services said at each call of apt-get, and the arguments."""
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []

    def _write(self, program: str, text: str) -> None:
        (self.folder / program).write_text(text, encoding="utf-8")
        (self.folder / program).chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


as_root = pytest.mark.skipif(os.getuid() != 0, reason="apt-get needs root")


def test_nothing_is_installed_where_all_programs_are(machine: Machine) -> None:
    machine.has(*WATCHING, *HOSTS)
    machine.has_apt_get(brings="")
    assert machine.run().returncode == 0
    assert machine.asked() == []


def test_without_apt_get_the_script_names_what_is_missing(machine: Machine) -> None:
    machine.has("chromium", "prometheus", *HOSTS)  # its package lacks one of two programs
    ended = machine.run()
    assert ended.returncode == 1
    assert "there is no apt-get here; tests that need prometheus skip" in ended.stderr


@as_root
def test_only_a_missing_package_is_installed_and_no_recommended_one(machine: Machine) -> None:
    machine.has("chromium", *HOSTS)
    machine.has_apt_get(brings="prometheus promtool")
    assert machine.run().returncode == 0
    update, download, install = machine.asked()
    assert update.endswith(" update")
    assert "--download-only prometheus" in download
    assert "--no-download prometheus" in install
    assert "--no-install-recommends" in install
    assert install.startswith("policy 101 noninteractive "), "no service may start"
    assert not machine.policy.exists()


@as_root
def test_a_program_for_hosts_brings_the_package_that_it_is_in(machine: Machine) -> None:
    machine.has(*WATCHING, *HOSTS)
    for program in ("sshd", "ip"):
        (machine.folder / program).unlink()
    machine.has_apt_get(brings="sshd ip")
    assert machine.run().returncode == 0
    assert machine.asked()[-1].endswith("--no-download iproute2 openssh-server")


@as_root
def test_the_policy_for_services_of_a_machine_stays(machine: Machine) -> None:
    machine.policy.write_text("#!/bin/sh\nexit 104\n", encoding="utf-8")
    machine.policy.chmod(0o755)
    machine.has_apt_get(brings=" ".join((*WATCHING, *HOSTS)))
    assert machine.run().returncode == 0
    assert machine.asked()[-1].startswith("policy 104 ")
    assert machine.policy.read_text(encoding="utf-8") == "#!/bin/sh\nexit 104\n"


@as_root
@pytest.mark.parametrize(
    ("fails", "brings", "reason"),
    [
        ("--download-only", "", "apt-get downloads no chromium prometheus"),
        ("--no-download", "", "apt-get installs no chromium prometheus"),
        ("nothing", "chromium promtool", "but a program is not on the PATH"),
    ],
)
def test_a_failed_install_says_why_and_which_tests_skip(
    machine: Machine, fails: str, brings: str, reason: str
) -> None:
    machine.has(*HOSTS)
    machine.has_apt_get(fails=fails, brings=brings)
    ended = machine.run()
    assert ended.returncode == 1
    assert reason in ended.stderr
    assert "tests that need" in ended.stderr.splitlines()[-1]
