"""Load tests against the platforms and connectors over HTTP only; nothing here imports the other packages."""
