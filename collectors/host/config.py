"""What an operator may say about watching a machine."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, field_validator

from collectors.schedule import ScrapeConfig

# Devices that are parts or images of others: what node_exporter leaves out too.
PARTS_OF_DISKS = r"z?ram\d+|loop\d+|fd\d+|sr\d+|(h|s|v|xv)d[a-z]+\d+|nvme\d+n\d+p\d+|mmcblk\d+p\d+"
# No room of their own to run out of; or on another machine, where asking can block for minutes.
PSEUDO_FILESYSTEMS = (
    "autofs", "binfmt_misc", "bpf", "ceph", "cgroup", "cgroup2", "cifs", "configfs", "debugfs", "devpts", "devtmpfs",
    "efivarfs", "fuse.portal", "fusectl", "hugetlbfs", "iso9660", "lustre", "mqueue", "nfs", "nfs4", "nsfs", "overlay",
    "proc", "procfs", "pstore", "ramfs", "rpc_pipefs", "securityfs", "selinuxfs", "smb3", "squashfs", "sysfs", "tmpfs",
    "tracefs",
)  # fmt: skip


class HostConfig(ScrapeConfig):
    """The section of a `host` collector."""

    proc: Path = Field(Path("/proc"), description="where the kernel's process file system is mounted")
    sys: Path = Field(Path("/sys"), description="where the kernel's device file system is mounted")
    root: Path = Field(Path("/"), description="in front of every mount point, for an agent in a container")
    skip_filesystem_types: tuple[str, ...] = Field(PSEUDO_FILESYSTEMS, description="file systems not measured")
    skip_disks: str = Field(PARTS_OF_DISKS, description="regular expression of disks not measured, whole name")
    skip_interfaces: str = Field(r"lo|veth.*", description="regular expression of interfaces not measured, whole name")

    @field_validator("skip_disks", "skip_interfaces")
    @classmethod
    def _is_expression(cls, text: str) -> str:
        try:
            re.compile(text)
        except re.error as error:
            raise ValueError(f"{text!r} is no regular expression: {error}") from error
        return text
