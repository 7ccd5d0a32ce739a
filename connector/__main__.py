"""`python -m connector`: the reference connector, configured by its environment."""

import os
import sys

from connector.run import run

if __name__ == "__main__":
    sys.exit(run(os.environ))
