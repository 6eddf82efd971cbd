"""One of each thing that an installation on AWS is made of, plainly written."""

import json

import pulumi
import pulumi_aws as aws

config = pulumi.Config()
tags = {"installation": "smoke"}
zones = aws.get_availability_zones(state="available")
images = aws.ec2.get_ami(owners=["amazon"], most_recent=True, filters=[{"name": "name", "values": ["amzn2-ami-hvm-*"]}])

network = aws.ec2.Vpc("network", cidr_block="10.20.0.0/16", enable_dns_hostnames=True, tags=tags)
subnet = aws.ec2.Subnet(
    "workers",
    vpc_id=network.id,
    cidr_block="10.20.1.0/24",
    availability_zone=zones.names[0],
    tags=tags,
)
firewall = aws.ec2.SecurityGroup(
    "workers",
    vpc_id=network.id,
    description="Nothing comes in.",
    egress=[{"protocol": "-1", "from_port": 0, "to_port": 0, "cidr_blocks": ["0.0.0.0/0"]}],
    tags=tags,
)
key = aws.kms.Key("data", description="The data of the installation.", enable_key_rotation=True, tags=tags)
store = aws.s3.Bucket("data", tags=tags)
aws.s3.BucketPublicAccessBlock(
    "data",
    bucket=store.id,
    block_public_acls=True,
    block_public_policy=True,
    ignore_public_acls=True,
    restrict_public_buckets=True,
)
aws.s3.BucketServerSideEncryptionConfiguration(
    "data",
    bucket=store.id,
    rules=[
        {"apply_server_side_encryption_by_default": {"sse_algorithm": "aws:kms", "kms_master_key_id": key.arn}},
    ],
)
aws.s3.BucketPolicy(
    "data",
    bucket=store.id,
    policy=store.arn.apply(
        lambda arn: json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Deny",
                        "Principal": "*",
                        "Action": "s3:*",
                        "Resource": [arn, f"{arn}/*"],
                        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                    }
                ],
            }
        )
    ),
)
role = aws.iam.Role(
    "worker",
    assume_role_policy=json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
            ],
        }
    ),
    tags=tags,
)
profile = aws.iam.InstanceProfile("worker", role=role.name)
parameter = aws.ssm.Parameter("token", type="SecureString", value=config.require_secret("token"), tags=tags)
# A disk that does not say so outlives its machine.
disk = {"volume_size": 20, "encrypted": "true", "delete_on_termination": "true"}
template = aws.ec2.LaunchTemplate(
    "workers",
    image_id=images.id,
    instance_type=config.get("instanceType") or "t3.small",
    iam_instance_profile={"arn": profile.arn},
    vpc_security_group_ids=[firewall.id],
    metadata_options={"http_endpoint": "enabled", "http_tokens": "required"},
    block_device_mappings=[
        {"device_name": "/dev/xvda", "ebs": {"volume_size": 20, "encrypted": "true", "delete_on_termination": "true"}}
    ],
    tag_specifications=[{"resource_type": kind, "tags": tags} for kind in ("instance", "volume")],
    update_default_version=True,
)
group = aws.autoscaling.Group(
    "workers",
    min_size=0,
    max_size=3,
    vpc_zone_identifiers=[subnet.id],
    launch_template={"id": template.id, "version": "$Latest"},
    suspended_processes=["AZRebalance", "ReplaceUnhealthy"],
    wait_for_capacity_timeout="0",
    tags=[{"key": "installation", "value": "smoke", "propagate_at_launch": True}],
    opts=pulumi.ResourceOptions(ignore_changes=["desiredCapacity"]),
)
pulumi.export("group", group.name)
pulumi.export("store", store.bucket)
pulumi.export("network", network.id)
pulumi.export("subnet", subnet.id)
pulumi.export("token", parameter.value)
