#!/usr/bin/env python3
"""Posts one swipe to a Tillside demo, as a till of your own would.

    pip install http-message-signatures==3.0.0 requests
    python examples/python/post_swipe.py [.tillside/demo.json]
"""

import base64
import datetime
import json
import sys
import time

import requests
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

COVERED = ("@method", "@authority", "@path", "@query", "content-type", "content-digest")


class Key(HTTPSignatureKeyResolver):
    """One terminal's shared secret: 32 bytes, handed out in base64."""

    def __init__(self, secret_base64):
        self.secret = base64.b64decode(secret_base64)

    def resolve_private_key(self, key_id):
        return self.secret


class Till:
    def __init__(self, base_url, keyid, secret_base64):
        self.base_url, self.keyid = base_url, keyid
        self.session = requests.Session()
        self.signer = HTTPMessageSigner(
            signature_algorithm=algorithms.HMAC_SHA256, key_resolver=Key(secret_base64)
        )

    def send(self, method, path, body=None):
        """Signs and sends one request. What is signed is the bytes that are sent."""
        headers = {} if body is None else {"Content-Type": "application/json"}
        request = requests.Request(method, self.base_url + path, headers=headers, data=body)
        request = self.session.prepare_request(request)
        covered = COVERED if body is not None else COVERED[:4]
        self.signer.sign(
            request,
            key_id=self.keyid,
            created=datetime.datetime.now(datetime.timezone.utc),
            label="sig1",
            covered_component_ids=covered,
            body=body,
        )
        return self.session.send(request, timeout=5)

    def record(self, swipe):
        """Records a swipe. The body is made once: every attempt sends the same bytes under a
        fresh signature, so however often it arrives, it counts once."""
        body = json.dumps(swipe).encode()
        for attempt in range(5):
            try:
                answer = self.send("POST", "/v1/swipes", body)
            except requests.RequestException:  # no answer: it may have been recorded or not
                time.sleep(0.2 * 2**attempt)
                continue
            if answer.status_code != 503:
                return answer
            time.sleep(float(answer.headers.get("Retry-After", "1")))
        raise SystemExit("no answer: keep the swipe and send it later, as part of a batch")


def main():
    with open(sys.argv[1] if len(sys.argv) > 1 else ".tillside/demo.json") as file:
        demo = json.load(file)
    terminal, card, article = demo["terminals"][0], demo["cards"][0], demo["skus"][0]
    till = Till(demo["base_url"], terminal["keyid"], terminal["secret_base64"])
    now = datetime.datetime.now(datetime.timezone.utc)
    swipe = {
        "store_id": terminal["store_id"],
        "workstation_id": terminal["workstation_id"],
        "business_date": now.date().isoformat(),
        "sequence_number": int(now.timestamp() * 1000),
        "occurred_at": now.isoformat(timespec="seconds"),
        "currency": demo["currency"],
        "card": card,
        "entry_method": "scanned",
        "lines": [
            {
                "line": 1,
                "sku": article["sku"],
                "quantity": "3",
                "amount_minor": 3 * article["price_minor"],
            }
        ],
        "total_minor": 3 * article["price_minor"],
    }

    answer = till.record(swipe)
    if not answer.ok:
        problem = answer.json()
        print(answer.status_code, problem["title"], "-", problem["detail"])
        for finding in problem.get("errors", []):
            print("  ", finding["pointer"], finding["detail"])
        raise SystemExit(1)
    receipt = answer.json()
    points = receipt["points"]
    print(answer.status_code, receipt["swipe"])
    print("earned", points["earned"], "balance", points["balance"])

    again = till.record(swipe)
    print(again.status_code, "again, replayed:", again.headers.get("Idempotent-Replayed"))
    print("the same bytes:", again.content == answer.content)
    print("the card now:", till.send("GET", "/v1/cards/" + card).json()["points"])


if __name__ == "__main__":
    main()
