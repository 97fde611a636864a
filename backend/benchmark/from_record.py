"""A reference set made of the site's own record: submissions whose truth was noted later, judged by one version of one detector.

Owns which of the noted scores go into a set. Promises: scores of another version, other weights or parameters stay out, as with every set;
a file that was submitted twice is one item; no submission and no file is named. Imported by ``truth``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from backend.benchmark.items import digest_of
from backend.benchmark.output import detector_of
from backend.scores.references import UNTOUCHED, Data, Reference, ReferenceSet
from base_detector import Card
from shared.clock import utc_now
from shared.evidence import LEAST_OF_A_KIND
from shared.records import Mode
from shared.results import Provenance
from shared.truths import Noted, NotedAnswer, made_by

#: Files of each kind below which a set would say nothing.
KINDS_NEEDED: Final = LEAST_OF_A_KIND
#: What the material is, where the operator does not say.
ABOUT: Final = "files that were submitted to this site and whose truth became known later; not a random sample of them"


def reference_of(
    items: Iterable[Noted], *, card: Card, ran: Provenance, mode: Mode, name: str, about: str = ""
) -> ReferenceSet:
    """The set of the scores that ``card``, as it is installed now (``ran``), gave to noted files; perhaps an empty one.

    ``mode`` is that of the clips; stills and sound are judged alike in all modes.
    """
    key = made_by(ran, card.aggregation)
    chosen: dict[str, tuple[Noted, NotedAnswer]] = {}
    for item in sorted(
        items, key=lambda one: (one.judged, one.id)
    ):  # of two submissions of one file the later one counts
        for answer in item.answers:
            same = answer.id == card.id and made_by(answer.provenance, answer.strategy) == key
            if (
                same
                and answer.fake_score is not None
                and (item.mode == mode or item.kind == "image" or card.unit == "sound")
            ):
                chosen[item.media_sha256] = item, answer
    return ReferenceSet(
        name=name,
        about=about or ABOUT,
        created=utc_now(),
        detector=detector_of(card, ran),
        data=_data(chosen),
        mode=mode,
        rows=tuple(
            Reference(
                fake=item.fake,
                fake_score=answer.fake_score or 0.0,
                subset="",
                group=f"{number:04}",
                condition=UNTOUCHED,
                like=item.like,
            )
            for number, (_, (item, answer)) in enumerate(sorted(chosen.items()))
        ),
    )


def _data(chosen: Mapping[str, tuple[Noted, NotedAnswer]]) -> Data:
    fakes = sum(item.fake for item, _ in chosen.values())
    return Data(
        name="record of this site",
        format="record",
        sha256=digest_of(("", digest, item.fake) for digest, (item, _) in chosen.items()),
        real=len(chosen) - fakes,
        fake=fakes,
        groups=len(chosen),
        subsets={},
        missing=(),
        missing_count=0,
        unlabelled=0,
    )
