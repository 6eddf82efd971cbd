"""The master: web application, API, scheduler. One folder a feature, one composition root a process."""
