"""moto's server, mended where it answers otherwise than AWS in what an installation does. Runs in moto's environment.

AWS lets go of a network interface that outlives its machine when the machine ends; moto keeps it attached for ever, so
that it can be neither detached nor removed. It counts a launch template's own tags among those of what is launched from
it, and does not tell that a database's parameter was set by a user. An account has five addresses in a region until it
asks for more; moto gives as many as one wants. Calls that come at once trip over each other in moto (a security group's
first rule is there although it was taken away before): here one is answered after the other. A call that comes a second
time because its answer was lost gets that answer. Who called what is told at /moto-api/calls.

AWS's images say how their root device is called, and what is asked for that device is about the disk of the image;
moto calls all of them /dev/sda1, and makes a second disk that belongs to nobody.
"""

from __future__ import annotations

import json
import sys
import threading

from calls import Calls
from moto import server  # pyright: ignore[reportMissingImports]
from moto.ec2.exceptions import EC2ClientError  # pyright: ignore[reportMissingImports]
from moto.ec2.models import EC2Backend  # pyright: ignore[reportMissingImports]
from moto.ec2.models.instances import Instance  # pyright: ignore[reportMissingImports]
from moto.ec2.models.launch_templates import LaunchTemplate  # pyright: ignore[reportMissingImports]
from moto.ec2.responses.amis import AmisResponse  # pyright: ignore[reportMissingImports]
from moto.rds.models import DBParameterGroup  # pyright: ignore[reportMissingImports]

ADDRESSES = 5
allocate_address = EC2Backend.allocate_address
add_block_device = Instance.add_block_device
register_image = AmisResponse.register_image
terminate = Instance.terminate
create_version = LaunchTemplate.create_version
update_parameters = DBParameterGroup.update_parameters
run_simple = server.run_simple


def allocate_within_the_quota(backend, *arguments, **options):
    """As `EC2Backend.allocate_address`. Code and words are those of EC2."""
    if len(backend.addresses) >= ADDRESSES:
        raise EC2ClientError("AddressLimitExceeded", "The maximum number of addresses has been reached.")
    return allocate_address(backend, *arguments, **options)


def terminate_and_let_go(instance, *arguments, **options):
    """As `Instance.terminate`, and the interfaces that stay are free afterwards."""
    state = terminate(instance, *arguments, **options)
    # The machine goes on knowing its addresses, as its description shows them until it is forgotten.
    for interface in (one for one in instance.nics.values() if not one.delete_on_termination):
        interface.instance = interface.attachment_id = interface.attach_time = interface.device_index = None
        interface.status = "available"
    return state


def register_with_its_root_device(response):
    """As `AmisResponse.register_image`, and the image keeps the name."""
    answer = register_image(response)
    if name := response._get_param("RootDeviceName"):
        response.ec2_backend.amis[answer.result["ImageId"]].root_device_name = name
    return answer


def set_up_the_root_device(instance):
    """As `Instance.setup_defaults`, under the name that the image says."""
    volume = instance.ec2_backend.create_volume(size=8, zone_name=instance.placement.zone)
    instance.ec2_backend.attach_volume(volume.id, instance.id, instance.root_device_name, True)


def put_block_device(instance, size, device_path, *arguments, **options):
    """As `Instance.add_block_device`; under a name there is one disk, the last that was asked for."""
    if before := instance.block_device_mapping.get(device_path):
        instance.ec2_backend.detach_volume(before.volume_id, instance.id, device_path)
        instance.ec2_backend.delete_volume(before.volume_id)
    add_block_device(instance, size, device_path, *arguments, **options)


def create_version_without_own_tags(template, data, description):
    """As `LaunchTemplate.create_version`, of what is launched alone."""
    told = [one for one in data.get("TagSpecifications", []) if one["ResourceType"] != "launch-template"]
    return create_version(template, {**data, "TagSpecifications": told}, description)


def update_parameters_of_a_user(group, new_parameters):
    """As `DBParameterGroup.update_parameters`, and it shows whose they are."""
    update_parameters(group, [{**parameter, "Source": "user"} for parameter in new_parameters])


class OneByOne:
    """The application; connections are many, calls one after the other.

    Of some calls the answer is lost on the way (seen with the Go SDK on a busy machine, four in a thousand). The SDK
    asks again, and what was made meanwhile is refused as a conflict. What was answered well is answered so again, once.
    """

    def __init__(self, application):
        self._application = application
        self._alone = threading.Lock()
        self._answers = {}
        self._calls = Calls()

    def __call__(self, environ, start_response):
        call = environ.get("HTTP_AMZ_SDK_INVOCATION_ID")
        with self._alone:
            if environ["PATH_INFO"] == "/moto-api/calls":
                start_response("200 OK", [("Content-Type", "application/json")])
                return [json.dumps(self._calls.told()).encode()]
            self._calls.note(environ)
            if call in self._answers:
                status, headers, body = self._answers.pop(call)
                start_response(status, headers)
                return body
            return self._answer(call, environ, start_response)

    def _answer(self, call, environ, start_response):
        def begin(status, headers, *more):
            if call and status.startswith("2"):
                self._answers[call] = (status, headers, body)
            return start_response(status, headers, *more)

        body = []
        body.extend(self._application(environ, begin))
        return body


EC2Backend.allocate_address = allocate_within_the_quota
AmisResponse.register_image = register_with_its_root_device
Instance.add_block_device = put_block_device
Instance.setup_defaults = set_up_the_root_device
Instance.terminate = terminate_and_let_go
LaunchTemplate.create_version = create_version_without_own_tags
DBParameterGroup.update_parameters = update_parameters_of_a_user
server.run_simple = lambda host, port, app, **options: run_simple(host, port, OneByOne(app), **options)
server.main(sys.argv[1:])
