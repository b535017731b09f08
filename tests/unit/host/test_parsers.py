"""What the kernels print, as recorded text."""

from __future__ import annotations

import os

from roost.host.darwin import parse_lsof_mapped, parse_ps_environment
from roost.host.linux import parse_maps, parse_start_ticks
from roost.host.types import MappedFile

STAT = (
    "4242 (a (weird) name) S 1 4242 4242 0 -1 4194560 100 0 0 0 12 3 0 0 20 0 4 0 987654 1000000 300 "
    "18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n"
)
MAPS = """\
7f0000000000-7f0005dd0000 r--s 00000000 fe:01 131074                     /models/with space.gguf
7f0006000000-7f0006021000 rw-p 00000000 00:00 0
7f0007000000-7f0007001000 r--p 00001000 fe:01 77                         /usr/lib/libc.so.6
7f0007001000-7f0007002000 r-xp 00002000 fe:01 77                         /usr/lib/libc.so.6
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]
"""
LSOF = "p4242\nftxt\nD0x1000004\ni12345\nn/Users/me/model.gguf\nftxt\nD0x1000004\ni99\nn/usr/lib/dyld\n"
PS = """\
  501 /usr/bin/python3 -m server HOME=/Users/me ROOST_WORKER_NONCE=abc PATH=/bin
  502 /usr/bin/python3 -m server ROOST_WORKER_NONCE=abcd
  503 ROOST_WORKER_NONCE=abc
"""


def test_the_start_time_is_found_behind_any_command_name() -> None:
    assert parse_start_ticks(STAT) == ("S", "987654")


def test_mapped_files_are_told_once_each_with_their_whole_path() -> None:
    device = os.makedev(0xFE, 1)
    assert parse_maps(MAPS) == (
        MappedFile(device, 131074, "/models/with space.gguf"),
        MappedFile(device, 77, "/usr/lib/libc.so.6"),
    )


def test_lsof_tells_device_inode_and_path() -> None:
    assert parse_lsof_mapped(LSOF) == (
        MappedFile(0x1000004, 12345, "/Users/me/model.gguf"),
        MappedFile(0x1000004, 99, "/usr/lib/dyld"),
    )


def test_a_nonce_is_matched_whole() -> None:
    assert parse_ps_environment(PS, "ROOST_WORKER_NONCE=abc") == (501, 503)
