"""The reference connector: receives feeds, keeps them in a durable outbox, delivers to the vendors.

It knows only the vendors' documents and HTTP; it never imports the simulator.
"""
