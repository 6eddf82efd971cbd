"""Self-hosted in AWS, by its own builder: people are not offered it yet."""

import pulumi

from stacks.config.aws import SelfHostedAws
from stacks.config.base import read_part
from stacks.config.choice import Choice
from stacks.config.common import Advanced
from stacks.config.reading import stack_values
from stacks.flavours import builder

settings = read_part(SelfHostedAws, stack_values()["self_hosted"], "self_hosted")
choice = Choice("self_hosted", "aws", settings, Advanced())
pulumi.export("installation", builder(choice)(choice))
