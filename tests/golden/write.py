"""``python -m tests.golden.write``: keep what today's writers write, beside what older ones wrote, never over it."""

from __future__ import annotations

import json
import sys

from tests.golden.examples import FORMATS, GOLDEN


def main() -> int:
    """Write a new golden file for each format whose bytes differ from the newest one kept."""
    for name, (ending, example) in FORMATS.items():
        folder = GOLDEN / name
        folder.mkdir(exist_ok=True)
        written = example()
        kept = sorted(folder.glob(f"*.{ending}"))
        if any(path.read_bytes() == written.data for path in kept):
            sys.stdout.write(f"{name}: as before\n")
            continue
        number = int(kept[-1].stem) + 1 if kept else 1
        with (folder / f"{number:03d}.{ending}").open("xb") as file:
            file.write(written.data)
        with (folder / f"{number:03d}.means").open("x", encoding="utf-8") as file:
            file.write(json.dumps(written.means, ensure_ascii=False, indent=1) + "\n")
        sys.stdout.write(f"{name}: wrote {number:03d}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
