"""30 days of hourly syncs of a cohort of 100,000 people with 1 % churn, on stepped time, in under a minute.

Every hour 500 members leave the cohort and 500 others enter: the run of that hour has to tell Braze of these 1,000
people, of nobody else, and of each once. The churn of a run is entries and exits against the members at the run before;
after the first run, which sends everybody, the ids in the requests are compared with it hour by hour, as sets and as
numbers. Making the people on both sides and the first run are not timed. The yardsticks, in the same run: the seconds
of processor time of simulator and connector, and how long it takes to write and read the file of the cohort 720 times.
Run: python benchmarks/cohort_sync.py [--members N] [--hours N] [--json]
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import requests
from event_stream import cpu_s, wait_for
from ingest import free_port

from simulator.amplitude.rows import project_id
from simulator.serving import Lab

HOURS, MEMBERS, CHURN = 720, 100_000, 0.01
SEED = 1
AIM_S = 60.0
PATH = "/partners/amplitude/cohorts/users"
INTEGRATION = """
cohort_sync:
  braze: {endpoint: "${BRAZE_URL}", data_import_key: "${BRAZE_DATA_IMPORT_KEY}"}
  syncs: [{cohort_id: "${COHORT_ID}", identifier: user_id, cadence: hourly}]
"""


def progress(steps: range, what: str) -> Iterator[int]:
    """The steps; every two seconds a line on stderr tells how many are done."""
    told = time.perf_counter()
    for number, step in enumerate(steps):
        if time.perf_counter() - told > 2:
            told = time.perf_counter()
            print(f"{what}: {number} of {len(steps)}", file=sys.stderr)
        yield step


class Bench:
    """A tank with its people, and the connector."""

    def __init__(self, folder: Path, members: int) -> None:
        self.lab = Lab(0)
        settings = {"braze.pool_limits": {"track": 10**9}, "journal.max_entries": 10**6, "amplitude.project_eps": 10**9}
        settings["amplitude.rest_ms"] = 0  # an inferred pause, there so that parallel requests meet
        settings["amplitude.cohort_downloads_per_month"] = HOURS + 1  # 500 would end hourly syncs on the 21st day
        settings["clock.busy_ms"] = 120_000  # a first run of 100,000 people on a busy machine takes its time
        self.ready = self.lab.create_tank({"id": "bench", "settings": settings, "limits": "batch", "seed": SEED})
        self.control = f"{self.lab.control_url}/tanks/bench"
        self.session = requests.Session()
        self.session.trust_env = False
        self.folder = folder
        self.everybody = [f"user-{number:08d}" for number in range(members + members // 5)]
        self.inside = set(self.everybody[:members])
        self.rng = random.Random(20_260_101)
        self.connector: subprocess.Popen[bytes] | None = None

    def call(self, method: str, url: str, body: Any = None, **more: Any) -> Any:
        data = None if body is None else orjson.dumps(body)
        headers = {"Content-Type": "application/json", **more.pop("headers", {})}
        answer = self.session.request(method, url, data=data, headers=headers, timeout=600, **more)
        if answer.status_code >= 300:
            raise SystemExit(f"{url}: {answer.status_code} {answer.text[:300]}")
        return orjson.loads(answer.content)

    def people(self) -> None:
        """Everybody in Amplitude and in Braze."""
        amplitude, braze = self.ready["amplitude"], self.ready["braze"]
        for at in progress(range(0, len(self.everybody), 2_000), "people in Amplitude"):
            events = [{"user_id": each, "event_type": "Seen"} for each in self.everybody[at : at + 2_000]]
            self.call("POST", f"{amplitude['url']}/batch", {"api_key": amplitude["api_key"], "events": events})
            if at % 50_000 == 0:
                self.advance("1m")  # a project has its limit too
        key = {"Authorization": f"Bearer {braze['rest_api_key']}"}
        for at in progress(range(0, len(self.everybody), 75), "people in Braze"):
            given = [{"external_id": each, "tier": "gold"} for each in self.everybody[at : at + 75]]
            self.call("POST", f"{braze['url']}/users/track", {"attributes": given}, headers=key)
        self.advance("1m")

    def cohort(self) -> str:
        side = self.ready["amplitude"]
        body = {
            "name": "Members",
            "app_id": project_id("bench", SEED),
            "id_type": "BY_USER_ID",
            "ids": sorted(self.inside),
            "owner": "analyst@example.com",
            "published": True,
        }
        keys = (side["api_key"], side["secret_key"])
        made = self.call("POST", f"{side['url']}/api/3/cohorts/upload", body, auth=keys)
        return str(made["cohortId"])

    def advance(self, by: str) -> None:
        self.call("POST", f"{self.control}/clock/advance", {"by": by})

    def start(self, cohort_id: str) -> None:
        port = free_port()
        (self.folder / "integration.yaml").write_text(INTEGRATION, "utf-8")
        amplitude, braze = self.ready["amplitude"], self.ready["braze"]
        environ = {
            **os.environ,
            "PORT": str(port),
            "COHORT_ID": cohort_id,
            "AMPLITUDE_URL": amplitude["url"],
            "AMPLITUDE_API_KEY": amplitude["api_key"],
            "AMPLITUDE_SECRET_KEY": amplitude["secret_key"],
            "BRAZE_URL": braze["url"],
            "BRAZE_DATA_IMPORT_KEY": braze["data_import_key"],
            "BRAZE_PARTNER_API_KEY": braze["partner_api_key"],
            "WAVETANK_CLOCK_URL": self.ready["control"]["clock_url"],
            "WAVETANK_INTEGRATION": str(self.folder / "integration.yaml"),
            "WAVETANK_STATE_DIR": str(self.folder / "connector"),
        }
        self.connector = subprocess.Popen([sys.executable, "-m", "connector"], env=environ)
        wait_for(port)
        while not self.call("GET", f"{self.control}/clock/waiting")["waiting"]:
            time.sleep(0.02)

    def churn(self, cohort_id: str, share: float) -> tuple[set[str], set[str]]:
        """Half of the churn leaves, as many enter: who entered and who left."""
        half = round(len(self.inside) * share / 2)
        left = set(self.rng.sample(sorted(self.inside), half))
        entered = set(self.rng.sample(sorted(set(self.everybody) - self.inside), half))
        self.inside = self.inside - left | entered
        side = self.ready["amplitude"]
        changes = [
            {"ids": sorted(ids), "id_type": "BY_NAME", "operation": operation}
            for ids, operation in ((left, "REMOVE"), (entered, "ADD"))
        ]
        body = {"cohort_id": cohort_id, "count_group": "User", "memberships": changes}
        url = f"{side['url']}/api/3/cohorts/membership"
        self.call("POST", url, body, auth=(side["api_key"], side["secret_key"]))
        return entered, left

    def sent(self, after: int) -> tuple[list[tuple[str, bool]], int]:
        """The ids that were sent to Braze since a journal entry, each with whether it leaves; the newest entry."""
        found = []
        while True:
            page = self.call("GET", f"{self.control}/journal?limit=20000&after={after}")
            for entry in page["entries"]:
                after = entry["n"]
                if entry["path"] == PATH and entry["status"] < 300:
                    (change,) = json.loads(entry["request_body"])["cohort_changes"]
                    found += [(each, bool(change.get("should_remove"))) for each in change["user_ids"]]
            if page["next"] is None:
                return found, after

    def members_in_braze(self, cohort_id: str) -> set[str]:
        path = f"{self.control}/braze/cohorts/amplitude/{cohort_id}?limit=100000"
        found, after = set(), 0
        while page := self.call("GET", f"{path}&after={after}")["members"]:
            found |= {each["external_id"] for each in page}
            after = page[-1]["uid"]
        return found

    def close(self) -> None:
        if self.connector is not None:
            self.connector.send_signal(signal.SIGTERM)
            self.connector.wait(20)
        self.lab.close()


def yardstick_s(everybody: Sequence[str], times: int) -> float:
    """How long the csv module takes to write the file of the cohort and to read it, ``times`` times."""
    lines = [[10**11 + number, each] for number, each in enumerate(everybody)]
    began = time.perf_counter()
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(lines)
    text.seek(0)
    sum(1 for _ in csv.reader(text))
    return (time.perf_counter() - began) * times


def measure(members: int, hours: int, folder: Path) -> dict[str, Any]:
    bench = Bench(folder, members)
    try:
        began = time.perf_counter()
        bench.people()
        cohort_id = bench.cohort()
        made_s = time.perf_counter() - began
        began = time.perf_counter()
        print("the first run, of everybody", file=sys.stderr)
        bench.start(cohort_id)
        bench.advance("30m")
        first_s = time.perf_counter() - began
        first, after = bench.sent(0)
        if sorted(first) != [(each, False) for each in sorted(bench.inside)]:
            raise SystemExit(f"the first run sent {len(first)} ids for {len(bench.inside)} members")
        truth, spent = [], {"tank": time.process_time(), "connector": cpu_s(bench.connector.pid)}
        churn_s = advance_s = 0.0
        for _ in progress(range(hours), "hours"):
            began = time.perf_counter()
            truth.append(bench.churn(cohort_id, CHURN))
            churned = time.perf_counter()
            bench.advance("1h")
            churn_s, advance_s = churn_s + churned - began, advance_s + time.perf_counter() - churned
        now = {"tank": time.process_time(), "connector": cpu_s(bench.connector.pid)}
        spent = {name: now[name] - before for name, before in spent.items()}
        sent, _ = bench.sent(after)
        _compare(sent, truth)
        if bench.members_in_braze(cohort_id) != bench.inside:
            raise SystemExit("Braze has other members than Amplitude")
    finally:
        bench.close()
    return {
        "hours": hours,
        "members": members,
        "churn": sum(len(entered) + len(left) for entered, left in truth),
        "ids_sent": len(sent),
        "made_s": made_s,
        "first_run_s": first_s,
        "churning_s": churn_s,
        "syncs_s": advance_s,
        "tank_cpu_s": spent["tank"],
        "connector_cpu_s": spent["connector"],
        "yardstick_s": yardstick_s(bench.everybody[:members], hours),
    }


def _compare(sent: Sequence[tuple[str, bool]], truth: Sequence[tuple[set[str], set[str]]]) -> None:
    """Every hour's requests hold its entries and exits, each once, and nothing else."""
    at = 0
    for hour, (entered, left) in enumerate(truth):
        expected = sorted([(each, False) for each in entered] + [(each, True) for each in left])
        mine = sorted(sent[at : at + len(expected)])
        if mine != expected:
            raise SystemExit(f"hour {hour}: the ids that were sent are not those of the churn")
        at += len(expected)
    if at != len(sent):
        raise SystemExit(f"{len(sent) - at} ids were sent beyond the churn")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=MEMBERS)
    parser.add_argument("--hours", type=int, default=HOURS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.members, options.hours, Path(folder))
    found = {name: round(value, 2) if isinstance(value, float) else value for name, value in found.items()}
    if options.json:
        print(json.dumps(found))
        return
    took = f"{found['syncs_s']:.1f} s (aim: under {AIM_S:.0f})"
    print(f"{found['hours']} hourly syncs of {found['members']} members: {took}")
    print(f"churn {found['churn']} people, ids sent {found['ids_sent']}: the same, hour by hour")
    print(f"processor time: tank {found['tank_cpu_s']:.1f} s, connector {found['connector_cpu_s']:.1f} s")
    print(f"the csv module alone, writing and reading the files: {found['yardstick_s']:.1f} s")


if __name__ == "__main__":
    main()
