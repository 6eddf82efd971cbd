"""Start-up scripts: with them a new machine of a cloud becomes a worker or the queue. No secret stands in them.

`settings` and `rendering` are pure and run where the installer runs; `boot` runs on the machine, before anything is
installed there: the standard library of Python 3.11 only.
"""
