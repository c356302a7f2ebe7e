"""How the embedded server is configured: for bulk loads on a machine of modest size."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MEGABYTE = 1 << 20
SMALL_SHARED_MEMORY = 1024 * MEGABYTE


def server_configuration() -> str:
    """Return the lines that are appended to postgresql.conf of a new server."""
    memory = _memory() // MEGABYTE
    shared_buffers = min(max(memory // 8, 128), 1024)
    lines = {
        "listen_addresses": "''",
        "unix_socket_permissions": "0700",
        "max_connections": "200",
        "timezone": "'UTC'",
        "log_timezone": "'UTC'",
        "shared_buffers": f"{shared_buffers}MB",
        "effective_cache_size": f"{memory // 2}MB",
        "work_mem": "64MB",
        "maintenance_work_mem": "256MB",
        # A bulk load should meet few checkpoints; what is written between two of them is also
        # what a crash makes the server read again, hence not more.
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "wal_compression": "on",
        "random_page_cost": "1.1",
        "jit": "off",
        "dynamic_shared_memory_type": _dynamic_shared_memory(),
    }
    return "\n# quant_mlops\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


def _memory() -> int:
    """Return the bytes of memory that this machine or container may use."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    try:
        text = limit.read_text().strip()
    except OSError:
        return physical
    return min(physical, int(text)) if text.isdigit() else physical


def _dynamic_shared_memory() -> str:
    """Return `mmap` where /dev/shm is as small as containers make it, else `posix`."""
    shm = Path("/dev/shm")
    roomy = shm.is_dir() and shutil.disk_usage(shm).total >= SMALL_SHARED_MEMORY
    return "posix" if roomy else "mmap"
