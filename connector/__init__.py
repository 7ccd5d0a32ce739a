"""The reference connector: takes the platforms' feeds and delivers them, as the vendors document it.

What lives here: configuration, the service that takes feeds, the durable outbox, delivery to Amplitude, and
one module per flow under ``flows``. What may not live here: anything that knows the simulator or
the scenarios.
"""
