"""Simulated Braze: profiles and the REST API that changes them, and the Currents feed.

What lives here: the catalogue of Currents events, the generator of realistic ones, the feed's decisions
(``currents``) and the feed itself (``currents_feed``). What may not live here: how anything is named in
Amplitude.
"""

from simulator.braze import currents_feed, delivering, pending, segment_export, segment_sizes
from simulator.braze.app import create_app

TIMERS = {
    **currents_feed.TIMERS,
    **pending.TIMERS,
    **delivering.TIMERS,
    **segment_export.TIMERS,
    **segment_sizes.TIMERS,
}

__all__ = ["TIMERS", "create_app"]
