"""Words that both screens show when two machines are paired: whoever sees the same five saw the same two keys."""

from __future__ import annotations

import hashlib

_LIST = """
    acorn amber anchor apple arrow autumn badge bamboo basket beacon bell berry birch bottle bread
    bridge bronze brook bucket butter button cabin cactus candle canyon carpet castle cedar cherry
    circle clay cliff clock cloud clover coast cobalt comet copper coral cotton cradle crane crystal
    daisy desert diamond dolphin drum eagle echo elbow ember engine fabric falcon feather fern
    fiddle flame flint forest fossil fountain garden garlic ginger glacier globe granite guitar
    hammer harbor harvest hazel heron hollow honey horizon ivory jacket jasmine jungle kettle kite
    ladder lantern lemon lentil lily linen lobster magnet maple marble meadow melon mirror mosaic
    needle nutmeg oasis ocean olive onion orchid otter oyster paddle panther paper parrot pebble
    pepper pigeon pillow planet plum pocket pumpkin quartz rabbit raven ribbon river rocket saddle
    salmon
"""
_WORDS = tuple(_LIST.split())
_COUNT = 5
_BITS = 7


def words_of(server_id: str, client_id: str, secret: bytes) -> str:
    """Five of 128 words, 35 bits."""
    digest = hashlib.sha256(b"roost words 1\0" + f"{server_id}\0{client_id}\0".encode() + secret).digest()
    number = int.from_bytes(digest[:8], "big")
    return " ".join(_WORDS[(number >> (_BITS * place)) & (2**_BITS - 1)] for place in range(_COUNT))
