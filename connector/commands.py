"""The connector's command."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from connector.run import run, run_test


@click.command(epilog="Example: wavetank connect integration.yaml --port 9000")
@click.argument("integration", type=click.Path(path_type=Path))
@click.option("--port", default=9000, show_default=True, help="Port to take feeds on.")
@click.option("--state-dir", default=".wavetank-connector", show_default=True, help="Folder of the durable outbox.")
@click.option("--outbox", metavar="URL", help="A PostgreSQL for the outbox, which several connectors may share.")
@click.option("--ready-file", type=click.Path(path_type=Path), help="Take URLs and keys from this ready file.")
@click.option("--test", type=click.Choice(["customerio"]), help="Test Connection: send one event, say how, and end.")
def connect(
    integration: Path, port: int, state_dir: str, outbox: str | None, ready_file: Path | None, test: str | None
) -> None:
    """Run the reference connector as INTEGRATION says; SIGTERM or Ctrl-C stops it without loss.

    With --test it sends what the set-up page's Test Connection sends: one Email Sent event to Amplitude. The exit
    code is 0 when Amplitude has taken it, 1 when not.
    """
    environ = {**os.environ, **(_from_ready_file(ready_file) if ready_file else {})}
    environ.update(PORT=str(port), WAVETANK_STATE_DIR=state_dir, WAVETANK_INTEGRATION=str(integration))
    if outbox is not None:
        environ["CONNECTOR_OUTBOX"] = outbox
    sys.exit(run_test(environ) if test else run(environ))


def _from_ready_file(path: Path) -> dict[str, str]:
    import orjson

    try:
        ready = orjson.loads(path.read_bytes())
        found = {
            "AMPLITUDE_URL": ready["amplitude"]["url"],
            "AMPLITUDE_REGION": ready["amplitude"]["region"],
            "AMPLITUDE_API_KEY": ready["amplitude"]["api_key"],
            "CURRENTS_TOKEN": ready["braze"]["currents_token"],
            "CUSTOMERIO_SIGNING_KEY": ready["customerio"]["signing_key"],
            "CUSTOMERIO_ACCOUNT_ID": ready["customerio"]["account_id"],
            "CUSTOMERIO_WORKSPACE_ID": ready["customerio"]["workspace_id"],
            "WAVETANK_TANK": str(path),
        }
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        raise click.UsageError(f"{path}: this is no ready file: give the one wavetank up has written") from None
    if ready["control"].get("mode", "real") != "real":
        found["WAVETANK_CLOCK_URL"] = ready["control"]["clock_url"]
    return found
