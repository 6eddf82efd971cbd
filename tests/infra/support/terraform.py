"""A Terraform provider's binary as a process, driven over its plugin protocol: no Terraform, no Pulumi."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import grpc

from support.tfplugin import MESSAGES, PACKAGE, PROCEDURES
from support.values import Block, complete, decode, encode, propose

# What go-plugin asks of a client before it serves: a handshake against starting by mistake, not a secret.
HANDSHAKE = {
    "TF_PLUGIN_MAGIC_COOKIE": "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2",
    "PLUGIN_PROTOCOL_VERSIONS": "5",
}
_ERROR = 1
_CHANNEL = [
    ("grpc.max_receive_message_length", 256 << 20),
    ("grpc.max_send_message_length", 256 << 20),
    ("grpc.default_authority", "localhost"),
]


@dataclass(frozen=True)
class Problem:
    """What the provider refuses; `path` holds Terraform's names and indexes, empty where it names none."""

    text: str
    path: tuple[str | int, ...] = ()


class TerraformError(Exception):
    """The provider refused. `state` is what stands all the same, when an apply failed half-way."""

    def __init__(self, problems: list[Problem], state: State | None = None):
        super().__init__("; ".join(problem.text for problem in problems))
        self.problems = problems
        self.state = state


@dataclass(frozen=True)
class State:
    """A resource as the provider knows it, and bytes that only the provider reads."""

    value: dict[str, Any]
    private: bytes = b""


@dataclass(frozen=True)
class Plan:
    """`replaces` are the top-level names whose change asks for a new resource."""

    value: dict[str, Any]
    replaces: list[str]
    message: Any
    config: Any


class Terraform:
    """One process of the provider, configured once. Raises TerraformError for everything that it refuses."""

    def __init__(self, binary: str, environment: dict[str, str], log: Path):
        """`environment` is all of it: nothing of this process's own reaches the provider."""
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [binary],
                env={**environment, **HANDSHAKE},
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        # CORE-VERSION|PROTOCOL|NETWORK|ADDRESS|grpc
        words = self._process.stdout.readline().decode().strip().split("|")
        assert len(words) >= 5 and words[1] == "5", f"{binary} does not speak plugin protocol 5; see {log}"
        self._channel = grpc.insecure_channel(f"{words[2]}:{words[3]}", options=_CHANNEL)

    def close(self) -> None:
        self._channel.close()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _call(self, procedure: str, **fields: Any) -> Any:
        name = PROCEDURES[procedure]
        request, response = MESSAGES[f"{name}Request"], MESSAGES[f"{name}Response"]
        ask = self._channel.unary_unary(
            f"/{PACKAGE}.Provider/{procedure}", request.SerializeToString, response.FromString
        )
        return ask(request(**fields))

    def schemas(self) -> Schemas:
        return Schemas(_checked(self._call("GetSchema")))

    def configure(self, schemas: Schemas, config: dict[str, Any]) -> None:
        block = schemas.provider
        prepared = _checked(self._call("PrepareProviderConfig", config=_dynamic(block, complete(block, config))))
        _checked(self._call("Configure", terraform_version="1.11.4", config=prepared.prepared_config))

    def validate(self, kind: str, block: Block, config: dict[str, Any]) -> None:
        message = _dynamic(block, complete(block, config))
        _checked(self._call("ValidateResourceTypeConfig", type_name=kind, config=message))

    def plan(self, kind: str, block: Block, config: dict[str, Any], prior: State | None = None) -> Plan:
        full = complete(block, config)
        before = prior.value if prior else None
        message = _dynamic(block, full)
        planned = self._call(
            "PlanResourceChange",
            type_name=kind,
            prior_state=_dynamic(block, before),
            proposed_new_state=_dynamic(block, propose(block, full, before)),
            config=message,
            prior_private=prior.private if prior else b"",
        )
        _checked(planned)
        replaces = [path.steps[0].attribute_name for path in planned.requires_replace if path.steps]
        return Plan(decode(planned.planned_state), replaces, planned, message)

    def apply(self, kind: str, block: Block, plan: Plan, prior: State | None = None) -> State:
        applied = self._call(
            "ApplyResourceChange",
            type_name=kind,
            prior_state=_dynamic(block, prior.value if prior else None),
            planned_state=plan.message.planned_state,
            config=plan.config,
            planned_private=plan.message.planned_private,
        )
        value = decode(applied.new_state)
        state = State(value, applied.private) if value is not None else None
        _checked(applied, state)
        assert state is not None, f"{kind} was applied and is not there"
        return state

    def delete(self, kind: str, block: Block, prior: State) -> None:
        before, nothing = _dynamic(block, prior.value), _dynamic(block, None)
        planned = self._call(
            "PlanResourceChange",
            type_name=kind,
            prior_state=before,
            proposed_new_state=nothing,
            config=nothing,
            prior_private=prior.private,
        )
        _checked(planned)
        applied = self._call(
            "ApplyResourceChange",
            type_name=kind,
            prior_state=before,
            planned_state=nothing,
            config=nothing,
            planned_private=planned.planned_private or prior.private,
        )
        _checked(applied)

    def read(self, kind: str, block: Block, state: State) -> State | None:
        """The state as it is now; None where the resource is gone."""
        found = self._call(
            "ReadResource", type_name=kind, current_state=_dynamic(block, state.value), private=state.private
        )
        value = decode(_checked(found).new_state)
        return State(value, found.private) if value is not None else None

    def adopt(self, kind: str, block: Block, identity: str) -> State | None:
        """The state of a resource that somebody else made, by the id that `terraform import` takes; None: no such."""
        answer = _checked(self._call("ImportResourceState", type_name=kind, id=identity))
        for resource in answer.imported_resources:
            if resource.type_name == kind:
                return self.read(kind, block, State(decode(resource.state), resource.private))
        return None

    def data(self, kind: str, block: Block, config: dict[str, Any]) -> dict[str, Any]:
        """What a data source answers."""
        message = _dynamic(block, complete(block, config))
        _checked(self._call("ValidateDataSourceConfig", type_name=kind, config=message))
        return decode(_checked(self._call("ReadDataSource", type_name=kind, config=message)).state)


class Schemas:
    """Blocks of the provider, its resources and its data sources; each is read when it is asked for."""

    def __init__(self, answer: Any):
        self.provider = Block.of(answer.provider.block)
        self._resources = {entry.key: entry.value.block for entry in answer.resource_schemas}
        self._sources = {entry.key: entry.value.block for entry in answer.data_source_schemas}
        self.resource = cache(self._resource)
        self.source = cache(self._source)

    def _resource(self, kind: str) -> Block:
        return Block.of(self._resources[kind])

    def _source(self, kind: str) -> Block:
        return Block.of(self._sources[kind])

    def resource_names(self) -> dict[str, frozenset[str]]:
        """Terraform's types, and the names of their attributes and blocks."""
        return {kind: _names(block) for kind, block in self._resources.items()}

    def source_names(self) -> dict[str, frozenset[str]]:
        return {kind: _names(block) for kind, block in self._sources.items()}


def _names(block: Any) -> frozenset[str]:
    return frozenset([a.name for a in block.attributes] + [b.type_name for b in block.block_types])


def _dynamic(block: Block, value: Any) -> Any:
    return MESSAGES["DynamicValue"](msgpack=encode(value, block.type))


def _checked(answer: Any, state: State | None = None) -> Any:
    problems = [_problem(found) for found in answer.diagnostics if found.severity == _ERROR]
    if problems:
        raise TerraformError(problems, state)
    return answer


def _problem(diagnostic: Any) -> Problem:
    text = diagnostic.summary if not diagnostic.detail else f"{diagnostic.summary}: {diagnostic.detail}"
    steps = diagnostic.attribute.steps
    path = [s.attribute_name or s.element_key_string or s.element_key_int for s in steps]
    return Problem(text, tuple(path))
