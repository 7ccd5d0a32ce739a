"""The command line: one group that gathers each package's commands; nothing else."""

from __future__ import annotations

import click

from connector.commands import connect
from loadtests.commands import load
from scenarios.commands import check, mutants, rules
from simulator.commands import explain, feed, up


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wavetank")
def main() -> None:
    """Simulated Braze, Amplitude and Customer.io, and the checks that tell whether a connector is right."""


for command in (up, check, rules, mutants, explain, feed, connect, load):
    main.add_command(command)

if __name__ == "__main__":
    main()
