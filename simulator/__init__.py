"""The simulated platforms, the tanks they live in, and the control API.

What a platform decides lives in plain functions; Flask, SQL and sockets stay at the edges.
Nothing here knows a connector or a scenario.
"""
