"""An AWS on this machine: moto as a process of its own, strict where it can be."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from fixtures.stack import free_port
from fixtures.store_servers import server
from plugin.store_parts import SERVERS_PYTHON

REGION = "eu-west-1"
SERVER = Path(__file__).with_name("moto_as_aws.py")
STRICT = {
    "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "1",
    "MOTO_ENABLE_AMI_VALIDATION": "1",
    "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
}
# boto3 lives where moto does: its versions and this project's don't go together. Calls come by standard input.
ASK = """
import json, sys
import boto3

address, region = sys.argv[1:]
answers = []
for service, method, arguments in json.load(sys.stdin):
    client = boto3.client(service, endpoint_url=address, region_name=region,
                          aws_access_key_id="the-test", aws_secret_access_key="testing")
    answers.append(getattr(client, method)(**arguments))
print(json.dumps(answers, default=str))
"""
# What an installation may leave behind: everything that costs, opens or holds something.
LISTINGS = [
    ("ec2", "describe_vpcs", "Vpcs", "VpcId"),
    ("ec2", "describe_subnets", "Subnets", "SubnetId"),
    ("ec2", "describe_security_groups", "SecurityGroups", "GroupId"),
    ("ec2", "describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    ("ec2", "describe_nat_gateways", "NatGateways", "NatGatewayId"),
    ("ec2", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
    ("ec2", "describe_volumes", "Volumes", "VolumeId"),
    ("ec2", "describe_addresses", "Addresses", "AllocationId"),
    ("ec2", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateId"),
    ("autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups", "AutoScalingGroupName"),
    ("s3", "list_buckets", "Buckets", "Name"),
    ("iam", "list_roles", "Roles", "RoleName"),
    ("iam", "list_users", "Users", "UserName"),
    ("iam", "list_instance_profiles", "InstanceProfiles", "InstanceProfileName"),
    ("secretsmanager", "list_secrets", "SecretList", "Name"),
    ("ssm", "describe_parameters", "Parameters", "Name"),
    ("rds", "describe_db_instances", "DBInstances", "DBInstanceIdentifier"),
    ("elbv2", "describe_load_balancers", "LoadBalancers", "LoadBalancerArn"),
    ("elbv2", "describe_target_groups", "TargetGroups", "TargetGroupArn"),
    ("ecr", "describe_repositories", "repositories", "repositoryArn"),
    ("logs", "describe_log_groups", "logGroups", "arn"),
]
ALIVE = {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}


class CloudRefusedError(Exception):
    """What boto3 raised, in its words."""


class AwsCloud:
    """Its address, and what somebody with the console would do there."""

    def __init__(self, url: str):
        self.url = url

    def ask(self, service: str, method: str, **arguments: Any) -> Any:
        """What boto3 answers: `ask("ec2", "describe_vpcs")`. Raises CloudRefusedError."""
        return self._ask([(service, method, arguments)])[0]

    def _ask(self, calls: list[tuple[str, str, dict[str, Any]]]) -> list[Any]:
        command = [str(SERVERS_PYTHON), "-c", ASK, self.url, REGION]
        done = subprocess.run(command, input=json.dumps(calls), capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise CloudRefusedError(done.stderr)
        return json.loads(done.stdout)

    def calls(self, who: str = "testing") -> set[str]:
        """Permissions that calls with this access key took since this was last asked; those of `ask` have another."""
        told = httpx.get(f"{self.url}/moto-api/calls", trust_env=False, timeout=60).raise_for_status()
        return set(told.json().get(who, ()))

    def reset(self) -> None:
        """An empty account again, whose administrator everybody is."""
        self._post("reset")
        self.obey_everybody()
        self.calls()

    def obey_everybody(self) -> None:
        """As it starts: no key and no policy is looked at."""
        self._post("reset-auth", "inf")

    def enforce(self) -> None:
        """From here on nobody may do anything without a right signature and a policy that allows it."""
        self._post("reset-auth", "0")

    def _post(self, action: str, body: str = "") -> None:
        httpx.post(f"{self.url}/moto-api/{action}", content=body, trust_env=False, timeout=60).raise_for_status()

    def contents(self) -> set[str]:
        """Kind and id of everything that is there; what is terminated, or a key about to be deleted, is not."""
        calls = [(service, method, {}) for service, method, _, _ in LISTINGS]
        calls += [("kms", "list_keys", {}), ("kms", "list_aliases", {})]
        *lists, keys, aliases, instances = self._ask([*calls, ("ec2", "describe_instances", {"Filters": [ALIVE]})])
        found = {
            f"{field} {item[key]}"
            for answer, (_, _, field, key) in zip(lists, LISTINGS, strict=True)
            for item in answer[field]
            if item.get("State") != "deleted"
        }
        found |= {f"Instances {i['InstanceId']}" for group in instances["Reservations"] for i in group["Instances"]}
        described = self._ask([("kms", "describe_key", {"KeyId": key["KeyId"]}) for key in keys["Keys"]])
        metadata = [key["KeyMetadata"] for key in described]
        # AWS itself makes a key for encrypted volumes when there is none.
        theirs = {a.get("TargetKeyId") for a in aliases["Aliases"] if a["AliasName"].startswith("alias/aws/")}
        ours = [m for m in metadata if m["KeyId"] not in theirs and m["KeyState"] != "PendingDeletion"]
        return found | {f"Keys {key['KeyId']}" for key in ours}


@contextmanager
def aws_cloud(folder: Path) -> Iterator[AwsCloud]:
    """Until the end of the block."""
    port = free_port()
    command = [str(SERVERS_PYTHON), str(SERVER), "-H", "127.0.0.1", "-p", str(port)]
    with server(command, port, folder, **STRICT) as url:
        yield AwsCloud(url)
