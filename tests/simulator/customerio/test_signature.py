"""The signature of reports. Source: Customer.io's OpenAPI document of reporting webhooks; fact sheet, appendix B."""

from __future__ import annotations

from simulator.customerio import signing

BODY = (
    b'{"event_id":"01K8XQEXAMPLE00000000000001","object_type":"email","metric":"opened","timestamp":1761912000,'
    b'"data":{"identifiers":{"id":"acct_77120"}}}'
)


def test_the_published_vector() -> None:
    assert len(BODY) == 148
    assert signing.headers("sk_demo_3f9a", "1761912004", BODY) == {
        "X-CIO-Timestamp": "1761912004",
        "X-CIO-Signature": "cfdf92d61de9b80463f85496812214c24b931b9a813e3181e20703fbe93eac16",
    }
