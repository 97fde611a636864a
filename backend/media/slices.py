"""What the first bytes of a coded H.264 picture say: whether others depend on it, and its number among those that others depend on.

FFmpeg hides most gaps in these numbers. Section numbers are those of ITU-T H.264 (08/2021). Promises: bytes are untrusted; what cannot be
read gives None, never an exception. Knows no FFmpeg. May be imported by ``backend.media.damage``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

#: nal_unit_type (table 7-1): a slice of a picture, of one that resets everything (IDR), and the parameters of the sequence.
_SLICE, _IDR, _SPS = 1, 5, 7
#: A slice's header and the parameters of a sequence are far shorter.
_MOST_HEADER = 512
#: Profiles whose sequence parameters say how colours are stored (7.3.2.1.1).
_HIGH = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


@dataclass(frozen=True)
class Slice:
    """``number``: frame_num (7.4.3), None where it cannot be read; ``kept``: other pictures may depend on this one."""

    number: int | None
    kept: bool
    resets: bool


class SliceReader:
    """Reads packets of one H.264 stream in decoding order. ``extradata`` as FFmpeg gives it, None for a stream with start codes."""

    def __init__(self, extradata: bytes | None) -> None:
        head = extradata or b""
        self._prefix = (head[4] & 3) + 1 if len(head) > 6 and head[0] == 1 else 0  # ISO/IEC 14496-15, 5.3.3.1
        self._numbers = 0  # how many there are before they begin again; 0: not known
        self._gaps_allowed = self._planes = False
        self._last: int | None = None
        if self._prefix and head[5] & 31:
            self._read_sps(head[8 : 8 + int.from_bytes(head[6:8], "big")])
        else:
            for unit in _units(head, 0):
                if unit[0] & 31 == _SPS:
                    self._read_sps(unit)

    def read(self, untrusted_data: bytes) -> Slice | None:
        """The first slice of a packet; None when it holds none."""
        for unit in _units(untrusted_data, self._prefix):
            kind = unit[0] & 31
            if kind == _SPS:
                self._read_sps(unit)
            elif kind in (_SLICE, _IDR):
                return Slice(self._number(unit), kept=bool(unit[0] & 0x60), resets=kind == _IDR)
        return None

    def follows(self, found: Slice) -> bool:
        """False when a picture is missing between the last one and this: each that is kept counts one up (7.4.3)."""
        last, number = self._last, found.number
        if number is None:
            self._last = None
            return True
        if found.resets:
            self._last = 0
            return True
        if found.kept:
            self._last = number
        # the same number again: the second field of a picture
        return last is None or self._gaps_allowed or number in (last, (last + 1) % self._numbers)

    # -- inside

    def _number(self, unit: bytes) -> int | None:
        if not self._numbers:
            return None
        try:
            bits = _Bits(unit)
            for _ in range(3):  # first_mb_in_slice, slice_type, pic_parameter_set_id
                bits.exp_golomb()
            if self._planes:
                bits.take(2)
            return bits.take(self._numbers.bit_length() - 1)
        except IndexError:
            return None

    def _read_sps(self, unit: bytes) -> None:
        try:
            bits = _Bits(unit)
            profile = bits.take(24) >> 16
            bits.exp_golomb()
            if profile in _HIGH:
                self._planes = _read_colours(bits)
            numbers = 1 << (bits.exp_golomb() + 4)
            order = bits.exp_golomb()  # pic_order_cnt_type
            if order == 0:
                bits.exp_golomb()
            elif order == 1:
                bits.take(1)
                bits.exp_golomb(), bits.exp_golomb()
                for _ in range(min(bits.exp_golomb(), 255)):
                    bits.exp_golomb()
            bits.exp_golomb()  # max_num_ref_frames
            self._gaps_allowed = bool(bits.take(1))
            self._numbers = numbers if numbers <= 1 << 16 else 0
        except IndexError:
            self._numbers = 0


def _read_colours(bits: _Bits) -> bool:
    """Skip from chroma_format_idc to the scaling lists; separate_colour_plane_flag."""
    colours = bits.exp_golomb()
    planes = colours == 3 and bool(bits.take(1))
    bits.exp_golomb(), bits.exp_golomb(), bits.take(1)
    if bits.take(1):
        for index in range(12 if colours == 3 else 8):
            if bits.take(1):
                last = scale = 8
                for _ in range(16 if index < 6 else 64):
                    if scale:
                        coded = bits.exp_golomb()
                        scale = (last + (coded + 1 >> 1) * (1 if coded & 1 else -1)) % 256
                    last = scale or last
    return planes


def _units(data: bytes, prefix: int) -> Iterator[bytes]:
    """The first bytes of each unit (7.3.1), none of them empty; ``prefix`` bytes before each hold its length, 0: start codes."""
    at = 0
    while at < len(data):
        if prefix:
            start = at + prefix
            at = start + int.from_bytes(data[at:start], "big")
        else:
            found = data.find(b"\x00\x00\x01", at)
            if found < 0:
                return
            start = at = found + 3
        if start < len(data):
            yield data[start : start + _MOST_HEADER]


class _Bits:
    """Bits of a unit behind its first byte, without the bytes that keep start codes out of it (7.3.1); IndexError at the end."""

    def __init__(self, unit: bytes) -> None:
        payload = unit[1:].replace(b"\x00\x00\x03", b"\x00\x00")
        self._bits, self._left = int.from_bytes(payload, "big"), len(payload) * 8

    def take(self, count: int) -> int:
        if count > self._left:
            raise IndexError
        self._left -= count
        return self._bits >> self._left & (1 << count) - 1

    def exp_golomb(self) -> int:
        """ue(v) (9.1)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 31:
                raise IndexError
        return (1 << zeros) - 1 + self.take(zeros)
