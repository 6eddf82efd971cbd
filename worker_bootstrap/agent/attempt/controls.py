"""What users steer by VH_* variables of their execution. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TRUE = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True)
class Controls:
    """`cpu`: cores, 0 for no wish. `gpus`: places of devices within the slot, None for all of them.

    `clean`: nothing that this machine has in its caches is used, code and image neither.
    """

    no_data_cache: bool = False
    no_image_cache: bool = False
    clean: bool = False
    cpu: float = 0.0
    gpus: tuple[int, ...] | None = None
    host_network: bool = False


def read_controls(env: Mapping[str, str]) -> tuple[Controls, list[str]]:
    """(the wishes, a sentence about each that can't be read: it is left out)."""
    problems: list[str] = []
    clean = _is_true(env, "VH_CLEAN")
    controls = Controls(
        no_data_cache=clean or _is_true(env, "VH_NO_DATA_CACHE"),
        no_image_cache=clean or _is_true(env, "VH_NO_IMAGE_CACHE"),
        clean=clean,
        cpu=_cores(env.get("VH_CPU_LIMIT", ""), problems),
        gpus=_places(env.get("VH_GPUS", ""), problems),
        host_network=_is_host(env.get("VH_DOCKER_NETWORK", ""), problems),
    )
    return controls, problems


def _is_true(env: Mapping[str, str], name: str) -> bool:
    return env.get(name, "").strip().lower() in TRUE


def _cores(text: str, problems: list[str]) -> float:
    if not text.strip():
        return 0.0
    try:
        cores = float(text)
    except ValueError:
        cores = 0.0
    if not 0.01 <= cores < float("inf"):
        problems.append(f"VH_CPU_LIMIT={text[:40]} is left out: a number of cores is expected, as in 1.5.")
        return 0.0
    return cores


def _places(text: str, problems: list[str]) -> tuple[int, ...] | None:
    """`all`, `none`, or numbers with commas between."""
    wanted = text.strip().lower()
    if wanted in ("", "all"):
        return None
    if wanted == "none":
        return ()
    parts = [part.strip() for part in wanted.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 4 for part in parts):
        problems.append(f"VH_GPUS={text[:40]} is left out: all, none, or places like 0,1 are expected.")
        return None
    return tuple(dict.fromkeys(int(part) for part in parts))


def _is_host(text: str, problems: list[str]) -> bool:
    wanted = text.strip().lower()
    if wanted not in ("", "host", "bridge", "default"):
        problems.append(f"VH_DOCKER_NETWORK={text[:40]} is left out: only host can be asked for.")
    return wanted == "host"
