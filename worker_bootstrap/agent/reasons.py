"""Codes that the agent gives for an end or a refusal. The master's registry has their sentences."""

from __future__ import annotations

# The user's code or wish.
DONE = "done"  # the last command ended with code 0
EXIT_CODE = "exit_code"  # it ended with another code
OOM_KILLED = "oom_killed"  # the kernel killed it at its memory limit
STOPPED = "stopped_by_user"  # a stop without a reason of its own
TIME_LIMIT = "time_limit"
NO_OUTPUT = "no_output_timeout"
IMAGE_NOT_FOUND = "image_not_found"
IMAGE_DENIED = "image_denied"  # its registry refuses the credential
IMAGE_WITHOUT_LOGIN = "image_without_login"  # its registry refuses, and no credential fits the image
REGISTRY_LOGIN_FAILED = "registry_login_failed"  # no token for its registry can be had with what is kept
INPUT_NOT_FOUND = "input_not_found"
INPUT_UNREACHABLE = "input_unreachable"  # its server does not answer, or breaks off, for too long
INPUT_CHECKSUM = "input_checksum"  # the bytes are not the listed ones, twice
CODE_BAD = "code_archive_bad"
MOUNT_REFUSED = "mount_refused"  # not below a folder of the machine's allow-list

# The infrastructure.
DISK_FULL = "disk_full"
IMAGE_PULL_FAILED = "image_pull_failed"  # the registry does not answer, or breaks off
ENGINE_GONE = "engine_gone"  # the engine does not answer, or lost the container
ENGINE_ERROR = "engine_error"  # it answers, and refuses
STORE_REFUSED = "store_refused"  # the store did not take an output
CODE_NOT_FOUND = "code_not_found"  # the code snapshot can't be read from its store
QUEUE_AWAY = "queue_unreachable"  # no answer to a question for too long
AGENT_ERROR = "agent_error"  # a defect of the agent
FORGOTTEN = "worker_forgot"  # asked about an attempt that is not known here

# Refusals of a grant (`accepted.refused`).
DRAINING = "draining"
NO_SLOT = "no_slot"
OLD_ATTEMPT = "old_attempt"
BAD_JOB = "bad_job"
