"""Why code can't be had from a repository: one code of the registry of reasons, with its sentence."""

from __future__ import annotations

from typing import Any

from controlplane.reasons import next_step, sentence


class GitError(RuntimeError):
    """`code` is a reason; the message is its sentence with what to do."""

    def __init__(self, code: str, **arguments: Any) -> None:
        super().__init__(f"{sentence(code, arguments)} {next_step(code, arguments)}".strip())
        self.code = code


# What git, curl and ssh say, in the order of looking. Their own words are never shown: they quote the other side.
_MEANINGS = (
    ("git_host_key_changed", ("host key verification failed",)),
    (
        "git_auth_failed",
        (
            "permission denied (",
            "authentication failed",
            "could not read username",
            "could not read password",
            "terminal prompts disabled",
            "returned error: 401",
            "returned error: 403",
        ),
    ),
    ("git_redirected", ("returned error: 30", "unable to update url base from redirection")),
    ("git_tls", ("certificate problem", "certificate verification failed", "no alternative certificate subject name")),
    (
        "git_not_found",
        ("' not found", "repository not found", "returned error: 404", "does not appear to be a git repository"),
    ),
    ("git_bad_objects", ("fsck error", "hasdot", "error in object", "invalid gitmodules", "gitmodulesurl")),
    ("git_too_large", ("file too large", "exceeds maximum allowed size")),
    (
        "git_unreachable",
        (
            "unable to access",
            "could not resolve",
            "connection refused",
            "connection timed out",
            "connection closed",
            "connection reset",
            "no route to host",
            "network is unreachable",
            "operation too slow",
            "could not read from remote repository",
            "the remote end hung up",
        ),
    ),
)


def meaning(words: str) -> str:
    """The reason that `git`'s own words stand for."""
    lowered = words.lower()
    for code, parts in _MEANINGS:
        if any(part in lowered for part in parts):
            return code
    return "git_failed"
