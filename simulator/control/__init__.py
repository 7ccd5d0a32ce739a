"""The control API: makes tanks, moves their time, sets faults, feeds connectors, reads everything back.

What lives here: the desk (tanks with their timekeepers), one module of plain functions per topic, the route
table, the Flask app. What may not: anything a vendor decides.
"""

from simulator.control.app import create_app
from simulator.control.desk import Desk

__all__ = ["Desk", "create_app"]
