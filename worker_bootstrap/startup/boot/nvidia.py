"""Driver and container toolkit of NVIDIA, where the machine has one of its devices."""

from __future__ import annotations

from pathlib import Path

from worker_bootstrap.startup.boot import machine
from worker_bootstrap.startup.boot.steps import StepError, command

DEVICES = Path("/sys/bus/pci/devices")
VENDOR = "0x10de"
DISPLAY = "0x03"
SMI = ("nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader")
# NVIDIA's own repository of the toolkit: the distributions have none. Its key's fingerprint is in NVIDIA's guide.
REPOSITORY = "https://nvidia.github.io/libnvidia-container"
FINGERPRINT = "C95B321B61E88C1809C4F759DDCAE044F796ECB0"
KEYRING = Path("/usr/share/keyrings/remora-nvidia.asc")
SOURCE = Path("/etc/apt/sources.list.d/remora-nvidia.list")


def is_there(devices: Path = DEVICES) -> bool:
    """Whether a display or 3D controller of NVIDIA is on the PCI bus."""
    return any(
        (device / "vendor").read_text().strip() == VENDOR and (device / "class").read_text().startswith(DISPLAY)
        for device in devices.glob("*")
    )


def settle() -> list[str]:
    """Install what is missing; ids of the devices. Raises StepError."""
    if not is_there():
        return []
    found = _devices()
    if not found:
        _driver()
        found = _devices()
    if not found:
        raise StepError("The NVIDIA driver is installed and shows no device: choose an image that carries a driver.")
    if not Path("/usr/bin/nvidia-ctk").exists():
        _toolkit()
    command("nvidia-ctk", "runtime", "configure", "--runtime=docker")
    command("systemctl", "restart", "docker.service")
    return found


def _devices() -> list[str]:
    try:
        return command(*SMI, seconds=120).split()
    except StepError:
        return []


def _driver() -> None:
    """Debian's own driver, or Ubuntu's newest for servers."""
    release = Path("/etc/os-release").read_text()
    kernel = command("uname", "-r").strip()
    if "ID=debian" in release:
        command("sed", "-i", "s/^Components: main$/Components: main contrib non-free non-free-firmware/", _sources())
        machine.install(f"linux-headers-{kernel}", "nvidia-driver", "nvidia-smi")
    else:
        machine.install("ubuntu-drivers-common")
        command("ubuntu-drivers", "install", "--gpgpu")
    command("modprobe", "nvidia")


def _sources() -> str:
    found = sorted(str(path) for path in SOURCE.parent.glob("*.sources") if "Components: main\n" in path.read_text())
    if not found:
        raise StepError("The image's list of packages has another form: choose an image that carries NVIDIA's driver.")
    return found[0]


def _toolkit() -> None:
    machine.install("ca-certificates", "curl", "gpg")
    key = command("curl", "--fail", "--silent", "--show-error", f"{REPOSITORY}/gpgkey")
    if FINGERPRINT not in command("gpg", "--show-keys", "--with-colons", given=key):
        raise StepError(f"The key of {REPOSITORY} is another than NVIDIA's: nothing of it is installed.")
    machine.write(KEYRING, key)
    machine.write(SOURCE, f"deb [signed-by={KEYRING}] {REPOSITORY}/stable/deb/$(ARCH) /\n")
    machine.install("nvidia-container-toolkit")
