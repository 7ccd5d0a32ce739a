"""Rules, scenarios, verdicts: drives a connector under test through a tank and judges what arrives.

Expectations are written from the documents, never computed with the simulator's or the connector's code.
"""
