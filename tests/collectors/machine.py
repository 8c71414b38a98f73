"""A machine made of files: what /proc and /sys of a small GPU server say."""

from __future__ import annotations

from pathlib import Path

PROC = {
    "stat": "cpu  1000 20 300 8000 500 5 15 0 0 0\ncpu0 1000 20 300 8000 500 5 15 0 0 0\nintr 5\n",
    "loadavg": "3.25 2.00 1.00 3/500 1234\n",
    "meminfo": "MemTotal:       65536000 kB\nMemFree:         1000000 kB\nMemAvailable:   16384000 kB\nBuffers: 5 kB\n",
    "diskstats": (
        "   8       0 sda 100 0 4096 10 50 0 2048 20 0 1500 30 0 0 0 0\n"
        "   8       1 sda1 90 0 4000 10 50 0 2048 20 0 1500 30 0 0 0 0\n"
        " 259       0 nvme0n1 7 0 8 1 9 0 16 2 0 250 3 0 0 0 0\n"
        " 259       1 nvme0n1p1 7 0 8 1 9 0 16 2 0 250 3 0 0 0 0\n"
        "   7       0 loop0 1 0 2 0 0 0 0 0 0 4 0 0 0 0 0\n"
    ),
    "net/dev": (
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier\n"
        "    lo:  500 5 0 0 0 0 0 0 500 5 0 0 0 0 0 0\n"
        "  eth0: 1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0\n"
        "bond0.12:7000000000 10 0 0 0 0 0 0 8000000000 20 0 0 0 0 0 0\n"
    ),
    "uptime": "86400.50 600000.00\n",
    "mounts": "proc /proc proc rw 0 0\n/dev/sda1 / ext4 rw 0 0\n/dev/sda1 /bind ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n",
}
SYS = {
    "class/hwmon/hwmon0/name": "coretemp\n",
    "class/hwmon/hwmon0/temp1_input": "58000\n",
    "class/hwmon/hwmon0/temp1_label": "Package id 0\n",
    "class/hwmon/hwmon0/temp1_crit": "100000\n",
    "class/hwmon/hwmon0/temp2_input": "-5500\n",
    "class/hwmon/hwmon1/name": "nct6798\n",
    "class/hwmon/hwmon1/fan1_input": "4350\n",
    "class/hwmon/hwmon1/fan2_input": "0\n",
}


def make_machine(folder: Path) -> tuple[Path, Path, Path]:
    """Write the files below ``folder``; return its proc, sys and root."""
    places = folder / "proc", folder / "sys", folder / "root"
    for place, files in zip(places, (PROC, SYS, {"bind/keep": ""}), strict=True):
        for name, text in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text, encoding="utf-8")
    chip = places[1] / "devices" / "platform" / "coretemp.0"
    chip.mkdir(parents=True)
    (places[1] / "class" / "hwmon" / "hwmon0" / "device").symlink_to(chip)
    return places
