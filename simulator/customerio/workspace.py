"""The workspace of a tank: its account and its own number, which reports do not carry.

Source: Customer.io docs, Amplitude (Message Metrics), Amplitude payload (groups of the sample).
"""

from __future__ import annotations

ACCOUNT_ID = "1"
WORKSPACE_ID = "56354"
