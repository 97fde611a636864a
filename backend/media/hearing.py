"""The sound of one medium on its way into the pack: decoded, written, and searched for speech.

Owns when sound is decoded and what is said of it. Imported by ``extract`` only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backend.media.limits import Deadline, MediaLimits
from backend.media.medium import Medium
from backend.media.pack import PackWriter
from backend.media.sound import Heard, first_sound, hear
from backend.media.sound_file import SoundMedium
from backend.media.speech import speech_in
from backend.media.video import VideoMedium, open_container
from base_detector import WorkerFailure
from shared.findings import Note, Sound


class Listener:
    """Writes the sound of one medium to ``writer``; with ``wanted`` False it writes none."""

    def __init__(self, writer: PackWriter, deadline: Deadline, limits: MediaLimits, *, wanted: bool) -> None:
        self._writer, self._deadline, self._limits, self._wanted = writer, deadline, limits, wanted

    def to_file(self, medium: SoundMedium) -> Sound | None:
        """The sound of a file of sound. It is decoded in any case: a file that cannot be is no medium."""
        heard = medium.listen(self._writer.append_sound if self._wanted else _leave, self._deadline)
        return self._facts(heard) if self._wanted else None

    def to_video(self, media: Path, medium: Medium) -> tuple[Sound | None, list[Note]]:
        """The first sound stream of ``media``, once the first picture of ``medium`` is decoded, and notes on it; None without one."""
        if not self._wanted or not isinstance(medium, VideoMedium):
            return None, []
        with open_container(media) as container:
            try:
                stream = first_sound(container)
            except WorkerFailure:
                return None, [Note("sound_unreadable")]
            if stream is None:
                return None, []
            heard = hear(
                container,
                stream,
                self._writer.append_sound,
                clock=medium.sound_clock(),
                limits=self._limits,
                deadline=self._deadline,
            )
        if not heard.samples:
            return None, [Note("sound_unreadable")]
        return self._facts(heard), heard.notes

    def _facts(self, heard: Heard) -> Sound:
        start_s = heard.start_s
        found = speech_in(self._writer.sound(), deadline=self._deadline)
        speech = tuple((round(start_s + begin, 3), round(start_s + end, 3)) for begin, end in found)
        return Sound(samples=heard.samples, start_s=start_s, speech=speech)


def _leave(samples: Any) -> None:
    """Sound that nobody asked for is decoded only."""
