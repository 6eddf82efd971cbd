"""Pulumi's protocol for providers, answered by a Terraform provider.

Source: `provider.proto` of github.com/pulumi/pulumi. Attached with PULUMI_DEBUG_PROVIDERS=aws:PORT.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2, empty_pb2
from google.rpc import status_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from support import resources
from support.convert import PropertyError, adopted, refreshed, to_outputs
from support.sdk import Kind, UnknownTokenError
from support.sessions import Session, Sessions
from support.terraform import Problem, State, TerraformError
from support.values import MisfitError
from support.wire import UnsupportedError, from_struct, to_struct

# Above the SDK's own: the CLI warns of providers that are older.
VERSION = "99.0.0"
REFUSALS = (TerraformError, PropertyError, MisfitError, UnknownTokenError, UnsupportedError)


def _told(method: Callable[..., Any]) -> Callable[..., Any]:
    """What is refused ends the call with its words."""

    @functools.wraps(method)
    def call(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except REFUSALS as error:
            return context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))

    return call


class AwsServicer(provider_pb2_grpc.ResourceProviderServicer):
    """One server for all providers of a program: the default one and those that it makes itself."""

    def __init__(self, sessions: Sessions):
        self._sessions = sessions

    def Handshake(self, request: Any, context: Any) -> Any:
        return provider_pb2.ProviderHandshakeResponse()

    def Attach(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version=VERSION)

    def GetSchema(self, request: Any, context: Any) -> Any:
        return provider_pb2.GetSchemaResponse(schema="{}")

    def CheckConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        olds, news = from_struct(request.old_inputs), from_struct(request.news)
        differs = sorted(name for name in {*olds, *news} if olds.get(name) != news.get(name))
        return _diff(differs, ["region"] if "region" in differs else [])

    @_told
    def Configure(self, request: Any, context: Any) -> Any:
        self._sessions.configure(context.peer(), from_struct(request.args))
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    @_told
    def Check(self, request: Any, context: Any) -> Any:
        kind, session = self._kind(request), self._session(context)
        inputs = from_struct(request.news)
        try:
            name, olds = request.urn.rpartition("::")[2], from_struct(request.olds)
            inputs = resources.named(kind, inputs, olds, name, request.randomSeed)
            config = resources.config_of(kind, inputs, session.region)
            session.terraform.validate(kind.terraform, kind.block, config)
        except (TerraformError, PropertyError, MisfitError) as error:
            return provider_pb2.CheckResponse(inputs=to_struct(inputs), failures=_failures(kind, error))
        return provider_pb2.CheckResponse(inputs=to_struct(inputs))

    @_told
    def Diff(self, request: Any, context: Any) -> Any:
        kind, session = self._kind(request), self._session(context)
        prior, inputs = self._prior(request.olds), from_struct(request.news)
        plan = self._plan(session, kind, request, prior)
        found = resources.change(kind, plan, prior)
        blocked = bool(found.replaces) and resources.blocks_its_successor(kind, inputs, prior)
        return _diff(found.differs, found.replaces, blocked)

    @_told
    def Create(self, request: Any, context: Any) -> Any:
        kind, session = self._kind(request), self._session(context)
        config = resources.config_of(kind, from_struct(request.properties), session.region)
        plan = session.terraform.plan(kind.terraform, kind.block, config)
        if request.preview:
            return provider_pb2.CreateResponse(properties=to_struct(resources.planned(kind, plan, session.region)))
        try:
            state = session.terraform.apply(kind.terraform, kind.block, plan)
        except TerraformError as error:
            return self._fail_half_way(context, kind, session, error, request.properties)
        outputs = to_struct(resources.with_state(kind, state, session.region))
        return provider_pb2.CreateResponse(id=resources.identity(kind, state), properties=outputs)

    @_told
    def Update(self, request: Any, context: Any) -> Any:
        kind, session = self._kind(request), self._session(context)
        prior = self._prior(request.olds)
        plan = self._plan(session, kind, request, prior)
        if request.preview:
            return provider_pb2.UpdateResponse(properties=to_struct(resources.planned(kind, plan, session.region)))
        try:
            state = session.terraform.apply(kind.terraform, kind.block, plan, prior)
        except TerraformError as error:
            return self._fail_half_way(context, kind, session, error, request.news)
        return provider_pb2.UpdateResponse(properties=to_struct(resources.with_state(kind, state, session.region)))

    @_told
    def Read(self, request: Any, context: Any) -> Any:
        kind, session = self._kind(request), self._session(context)
        prior = resources.state_of(from_struct(request.properties))
        terraform, block = session.terraform, kind.block
        if prior:
            state = terraform.read(kind.terraform, block, prior)
        else:
            state = terraform.adopt(kind.terraform, block, request.id)
        if state is None:
            return provider_pb2.ReadResponse()
        outputs = to_outputs(kind, state.value, session.region)
        inputs = refreshed(from_struct(request.inputs), outputs) if prior else adopted(kind, outputs)
        return provider_pb2.ReadResponse(
            id=resources.identity(kind, state),
            properties=to_struct(resources.with_state(kind, state, session.region)),
            inputs=to_struct(inputs),
        )

    @_told
    def Delete(self, request: Any, context: Any) -> Any:
        kind, session = self._kind(request), self._session(context)
        session.terraform.delete(kind.terraform, kind.block, self._prior(request.properties))
        return empty_pb2.Empty()

    @_told
    def Invoke(self, request: Any, context: Any) -> Any:
        kind, session = self._sessions.kinds.source(request.tok), self._session(context)
        given = from_struct(request.args)
        try:
            config = resources.config_of(kind, given, session.region)
            state = session.terraform.data(kind.terraform, kind.block, config)
        except (TerraformError, PropertyError, MisfitError) as error:
            return provider_pb2.InvokeResponse(failures=_failures(kind, error))
        answer = provider_pb2.InvokeResponse()
        # The field's name is a word of Python's own.
        getattr(answer, "return").CopyFrom(to_struct(to_outputs(kind, state, session.region)))
        return answer

    def _kind(self, request: Any) -> Kind:
        return self._sessions.kinds.resource(request.urn.split("::")[2].rpartition("$")[2])

    def _session(self, context: Any) -> Session:
        return self._sessions.of(context.peer())

    def _prior(self, outputs: Any) -> State:
        prior = resources.state_of(from_struct(outputs))
        assert prior is not None, "the stack's state was not written by this provider"
        return prior

    def _plan(self, session: Session, kind: Kind, request: Any, prior: State) -> Any:
        config = resources.config_of(kind, from_struct(request.news), session.region)
        config = resources.keep_ignored(kind, config, list(request.ignoreChanges), prior)
        return session.terraform.plan(kind.terraform, kind.block, config, prior)

    def _fail_half_way(
        self, context: Any, kind: Kind, session: Session, error: TerraformError, inputs: Any
    ) -> NoReturn:
        """What stands after a failure is kept: the engine is told of it in the details of the status."""
        if error.state is None or not (error.state.value.get("id") or error.state.value.get("arn")):
            raise error
        detail = provider_pb2.ErrorResourceInitFailed(
            id=resources.identity(kind, error.state),
            properties=to_struct(resources.with_state(kind, error.state, session.region)),
            reasons=[problem.text for problem in error.problems],
            inputs=inputs,
        )
        packed = any_pb2.Any()
        packed.Pack(detail)
        code = grpc.StatusCode.UNKNOWN
        status = status_pb2.Status(code=code.value[0], message=str(error), details=[packed])
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, str(error))
        raise AssertionError("an aborted call goes on")


def _diff(differs: list[str], replaces: list[str], delete_first: bool = False) -> Any:
    kind = provider_pb2.DiffResponse
    return kind(
        changes=kind.DIFF_SOME if differs else kind.DIFF_NONE,
        diffs=differs,
        replaces=replaces,
        deleteBeforeReplace=delete_first,
    )


def _failures(kind: Kind, error: TerraformError | PropertyError | MisfitError) -> list[Any]:
    if isinstance(error, PropertyError):
        return [provider_pb2.CheckFailure(property=error.path, reason=str(error))]
    problems = error.problems if isinstance(error, TerraformError) else [Problem(str(error), error.path)]
    return [provider_pb2.CheckFailure(property=_property(kind, p), reason=p.text) for p in problems]


def _property(kind: Kind, problem: Problem) -> str:
    """The SDK's name of the outermost property that a problem is about; the words say more."""
    return kind.wire_of(str(problem.path[0])) if problem.path else ""
