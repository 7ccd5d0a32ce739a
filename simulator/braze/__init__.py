"""Simulated Braze: its REST API's routes and the Currents feed.

What lives here: the catalogue of Currents events, the generator of realistic ones, the feed's decisions
(``currents``) and the feed itself (``currents_feed``). What may not live here: how anything is named in
Amplitude.
"""

from simulator.braze.app import create_app
from simulator.braze.currents_feed import TIMERS

__all__ = ["TIMERS", "create_app"]
