"""Attaches the Terraform provider for AWS to Pulumi's CLI, so that `pulumi up` runs on its logic against moto."""
