"""The mutants themselves: one list for the connector, one for the simulator."""
