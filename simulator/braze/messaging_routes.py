"""The messaging endpoints that are simulated: their handlers, the schemas they publish, the queries they read."""

from __future__ import annotations

from collections.abc import Mapping

from simulator.braze import messaging_api, messaging_figures, messaging_lists, transactional
from simulator.braze.transport import JsonHandler

HANDLERS: Mapping[str, tuple[JsonHandler, str, int]] = {
    "POST /messages/send": (messaging_api.messages_send, "braze_messages_send", 201),
    "POST /messages/schedule/create": (messaging_api.messages_schedule_create, "braze_messages_schedule_create", 201),
    "POST /messages/schedule/update": (messaging_api.messages_schedule_update, "braze_messages_schedule_update", 200),
    "POST /messages/schedule/delete": (messaging_api.messages_schedule_delete, "braze_schedule_delete", 200),
    "POST /campaigns/trigger/send": (messaging_api.campaign_send, "braze_campaign_send", 201),
    "POST /campaigns/trigger/schedule/create": (
        messaging_api.campaign_schedule_create,
        "braze_campaign_schedule_create",
        201,
    ),
    "POST /campaigns/trigger/schedule/update": (
        messaging_api.campaign_schedule_update,
        "braze_trigger_schedule_update",
        200,
    ),
    "POST /campaigns/trigger/schedule/delete": (messaging_api.campaign_schedule_delete, "braze_schedule_delete", 200),
    "POST /canvas/trigger/send": (messaging_api.canvas_send, "braze_canvas_send", 201),
    "POST /canvas/trigger/schedule/create": (
        messaging_api.canvas_schedule_create,
        "braze_canvas_schedule_create",
        201,
    ),
    "POST /canvas/trigger/schedule/update": (
        messaging_api.canvas_schedule_update,
        "braze_trigger_schedule_update",
        200,
    ),
    "POST /canvas/trigger/schedule/delete": (messaging_api.canvas_schedule_delete, "braze_schedule_delete", 200),
    "POST /sends/id/create": (transactional.send_id_create, "braze_sends_id_create", 201),
    "POST /transactional/v1/campaigns/<campaign_id>/send": (
        transactional.transactional_send,
        "braze_transactional_send",
        201,
    ),
}
"""Calls with a body: the handler, the schema it publishes, and the status of success."""

_LIST = ("page", "include_archived", "sort_direction", "last_edit.time[gt]")
_DAYS = ("length", "ending_at")
_STATS = (*_DAYS, "starting_at", "include_variant_breakdown", "include_step_breakdown")

READERS: Mapping[str, tuple[JsonHandler, tuple[str, ...]]] = {
    "GET /messages/scheduled_broadcasts": (messaging_lists.scheduled_broadcasts, ("end_time",)),
    "GET /campaigns/list": (messaging_lists.campaign_list, _LIST),
    "GET /campaigns/details": (messaging_lists.campaign_details, ("campaign_id",)),
    "GET /campaigns/data_series": (messaging_figures.campaign_series, ("campaign_id", *_DAYS)),
    "GET /canvas/list": (messaging_lists.canvas_list, _LIST),
    "GET /canvas/details": (messaging_lists.canvas_details, ("canvas_id",)),
    "GET /canvas/data_series": (messaging_figures.canvas_series, ("canvas_id", *_STATS)),
    "GET /canvas/data_summary": (messaging_figures.canvas_summary, ("canvas_id", *_STATS)),
    "GET /sends/data_series": (messaging_figures.send_series, ("campaign_id", "send_id", *_DAYS)),
}
"""Calls without one: the handler and the query parameters it reads."""
