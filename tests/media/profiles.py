"""Small ICC profiles of matrix and gamma (ICC.1:2001-04, 6.3.1.2), for pictures whose colours are not sRGB."""

from __future__ import annotations

import struct

#: X, Y, Z of red, green and blue under D50 (B. Lindbloom, "RGB working space information").
PRIMARIES = {
    "sRGB": ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7142)),
    "Display P3": ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)),
    "Adobe RGB": ((0.6098, 0.3111, 0.0195), (0.2052, 0.6257, 0.0609), (0.1492, 0.0632, 0.7448)),
    "ProPhoto RGB": ((0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0314, 0.0001, 0.8252)),
}


def profile(name: str, *, gamma: float = 2.2, order: str = "rgb") -> bytes:
    """A profile for displays; ``order`` says which primary each channel has."""
    primaries = dict(zip("rgb", PRIMARIES[name], strict=True))

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(gamma * 256), 0)
    text = b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name.encode() + b"\0" * 79
    tags = [(b"desc", text + b"\0" * (-len(text) % 4)), (b"wtpt", xyz((0.9642, 1.0, 0.8249)))]
    tags += [(f"{channel}XYZ".encode(), xyz(primaries[one])) for channel, one in zip("rgb", order, strict=True)]
    tags += [(f"{channel}TRC".encode(), curve) for channel in "rgb"]
    return _file(tags, device=b"mntr", space=b"RGB ", connection=b"XYZ ")


def inks() -> bytes:
    """A profile for four inks, pale ones: the lightness of a colour by its darkest ink, no hue (lut8Type, 6.5.7)."""
    corners = bytes(
        part for number in range(16) for part in (255 - 40 * (number & 15).bit_count() - 60 * (number & 1), 128, 128)
    )
    straight = bytes(range(256))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut += straight * 4 + corners + straight * 3
    return _file([(b"A2B0", lut + b"\0" * (-len(lut) % 4))], device=b"prtr", space=b"CMYK", connection=b"Lab ")


def _file(tags: list[tuple[bytes, bytes]], *, device: bytes, space: bytes, connection: bytes) -> bytes:
    at, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for kind, content in tags:
        table += kind + struct.pack(">II", at + len(body), len(content))
        body += content
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"none", 0x02100000, device, space, connection) + b"\0" * 12 + b"acsp"
    head += b"\0" * 28 + struct.pack(">3i", 63190, 65536, 54061)
    return head + b"\0" * (128 - len(head)) + table + body
