"""One module per flow: how the source's events become the destination's. Plain functions, no I/O."""
