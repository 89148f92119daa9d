"""The running agent as a process of its own, without the command line's libraries: they would weigh 9 MB for as long as it runs.

`zone-agent run` replaces itself by `python -m firmware_agent.service CONFIG LEVEL` (same process id).
"""

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import NoReturn

from firmware_agent.errors import AgentError


def become_service(config: Path, level: str) -> NoReturn:
    """Replace this process by the running agent."""
    os.execv(sys.executable, [sys.executable, "-P", "-m", "firmware_agent.service", str(config), level])  # noqa: S606  # ourselves


def main(config_file: str, level: str) -> int:
    """Run the agent to its end; return the exit status."""
    from firmware_agent.config import load_config
    from firmware_agent.identity.model import load_identity
    from firmware_agent.process import run_agent

    logging.basicConfig(level=level.upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        config = load_config(Path(config_file))
        identity = load_identity(config.data_dir / "identity")
        asyncio.run(run_agent(config, identity))
    except AgentError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
