"""Write the boards: `python -m grafana.build`. What is committed is what this writes; a test compares them."""

import json
import sys
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.station import station_board

FOLDER: Final = Path(__file__).parent


def generated() -> dict[Path, str]:
    """Return the text of each generated file by its path."""
    return {FOLDER / "boards" / "station.json": _text(station_board())}


def main() -> int:
    """Write all generated files."""
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        sys.stderr.write(f"{path.relative_to(FOLDER.parent)}\n")
    return 0


def _text(board: object) -> str:
    return json.dumps(board, cls=JSONEncoder, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.exit(main())
