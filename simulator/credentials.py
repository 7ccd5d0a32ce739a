"""Credentials of a tank: their names, their shapes, and readable defaults."""

from __future__ import annotations

import hashlib
import re

CREDENTIALS = (
    "amplitude_api_key",
    "amplitude_secret_key",
    "braze_rest_api_key",
    "braze_app_id",
    "braze_data_import_key",
    "braze_partner_api_key",
    "customerio_signing_key",
    "customerio_site_id",
    "customerio_track_api_key",
    "customerio_app_api_key",
    "currents_token",
    "amplitude_feed_token",
)
_HEX_KEYS = {
    "amplitude_api_key",
    "amplitude_secret_key",
    "customerio_signing_key",
    "customerio_app_api_key",
}
_SHORT_HEX_KEYS = {"customerio_site_id", "customerio_track_api_key"}
_UUID_KEYS = {"braze_rest_api_key", "braze_app_id", "braze_data_import_key", "braze_partner_api_key"}


def check_credential(name: str, value: object) -> None:
    """Raise ValueError when a value cannot be a credential."""
    if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]{1,256}", value):
        raise ValueError(f"credential {name} does not fit: use 1 to 256 printable characters without spaces")


def readable_credentials(tank_id: str, seed: int) -> dict[str, str]:
    """Default credentials: fixed by tank id and seed, in the vendors' own shapes."""
    values = {}
    for name in CREDENTIALS:
        digest = hashlib.sha256(f"{name}:{tank_id}:{seed}".encode()).hexdigest()
        if name in _HEX_KEYS:
            values[name] = digest[:32]
        elif name in _SHORT_HEX_KEYS:
            values[name] = digest[:20]
        elif name in _UUID_KEYS:
            values[name] = f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-a{digest[17:20]}-{digest[20:32]}"
        else:
            values[name] = f"{name.replace('_', '-')}-{digest[:16]}"
    return values
