"""`remora install` and `remora destroy`: questions answered in a file, checks, plan, work with progress, proof."""
