"""An installation's own queue and store on a machine of its owner: made there, secrets and all."""
