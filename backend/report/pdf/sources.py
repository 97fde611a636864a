"""The second half of the annex: the file, where the numbers come from, their limits, how sure a finding is, and the words.

May be imported by ``backend.report.pdf``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reportlab.lib.units import mm
from reportlab.platypus import Flowable, Spacer

from backend.report import words
from backend.report.pdf.letters import HEADING, SMALL, SUBHEADING, bold, brief, mono, safe, soft
from backend.report.pdf.parts import Text, grid, headed
from backend.report.pdf.subject import Subject
from shared import how_sure
from shared.evidence import KINDS
from shared.notes import note_sentences
from shared.origin_words import provenance_lines
from shared.results import Conditions
from shared.statement import kinds_of
from shared.words import counted, duration, format_name, looked_at, size

#: characters of a file's name beyond which it is cut
_MOST_NAME: Final = 600
#: files of weights of one detector
_MOST_WEIGHTS: Final = 16
#: what a reader must know to read the rest
_GLOSSARY: Final = (
    (
        "Fake score",
        "A detector's number from 0 to 1: 0 = like its real examples, 1 = like its fake ones. Not a probability that the file is fake.",
    ),
    ("Threshold", "Each detector's own, published with it. A score at or above it is not a finding."),
    (
        "Finding",
        "Where a detector's answer points, to manipulation, to real material or nowhere (inconclusive), and why.",
    ),
    ("Kind of evidence", "Detectors that look at the same thing are one kind. Two that agree count once."),
    (
        "Judged, counted",
        "A detector judges faces, whole pictures or windows of sound. One that judged too few of them is not counted.",
    ),
    ("Stretch", "From when to when a detector stays at or above its threshold for one person, or the voice."),
    (
        "Stability band",
        "From where to where a score moves when a part of the file is judged again after mild changes, such as those of a messenger.",
    ),
    ("Reference set", "Files known to be real or manipulated, on which this version of a detector was measured."),
    (
        "Likelihood ratio",
        "How many times likelier such a score is for manipulated than for real files of a reference set.",
    ),
    ("95 % interval", "Where the true value is in at least 95 of 100 cases, for files like those that were counted."),
    (
        "Person",
        "A group of faces taken for one human being. The grouping is by likeness and can be wrong; nobody is identified.",
    ),
    ("sha256", "A fingerprint of a file: two files with the same one have the same content."),
)


# --------------------------------------------------------------------------- file, origin


def file(subject: Subject, *, width: float) -> Iterator[Flowable]:
    """The file: its name, its kind, and the conditions that scores are to be read beside."""
    result = subject.result
    media, conditions = result.media, result.conditions
    yield from headed("The file", HEADING)
    name = (
        media.name
        if len(media.name) <= 600
        else f"{media.name[:600]}… ({len(media.name):,} characters; result.json has all)"
    )
    facts = [
        ("Name", safe(name)),
        ("sha256", mono(media.sha256)),
        ("Size", f"{size(media.bytes)} ({media.bytes:,} bytes)"),
    ]
    facts.append(("Format", safe(format_name(media.container, media.codec))))
    if media.kind != "sound":
        sizes = f"; {len(media.sizes)} changes of size" if len(media.sizes) > 1 else ""
        facts.append(
            (
                "Picture",
                f"{media.width} × {media.height} pixels{sizes}"
                + (f", turned by {media.rotation} degrees" if media.rotation else ""),
            )
        )
    if media.kind == "video":
        rate = f", {media.fps:.3g} frames a second" if media.fps else ""
        facts.append(
            (
                "Length",
                f"{duration(media.duration_s)}, {media.frames:,} frames{rate}, {counted(len(result.shots), 'shot')}",
            )
        )
        facts.append(
            (
                "Sound",
                "none" if not media.has_audio else "present, examined" if result.sound else "present, not examined",
            )
        )
    elif media.kind == "sound":
        facts.append(("Length", duration(media.duration_s)))
    facts.append(("Looked at", safe(looked_at(result))))
    facts += _conditions(conditions) if conditions else []
    facts += [("Note", safe(sentence)) for sentence in note_sentences(result.notes)]
    yield grid([[soft(title), value] for title, value in facts], [34 * mm, width - 34 * mm], head=False)


def _conditions(conditions: Conditions) -> list[tuple[str, str]]:
    """What scores are to be read beside, as far as it was measured."""
    known = [
        ("Size of faces", conditions.face_px, "{:.0f} pixels (median of the longer side)"),
        ("Sharpness of faces", conditions.sharpness, "{:.0f} (variance of the Laplacian at 64 pixels)"),
        ("Compression", conditions.bits_per_pixel, "{:.3g} bits a pixel"),
        ("Traces of blocks", conditions.blocking, "{:.2f} (1 = none)"),
    ]
    return [(title, template.format(value)) for title, value, template in known if value is not None]


def looked_for(subject: Subject, *, width: float) -> Iterator[Flowable]:
    """Each kind of manipulation, and who looked for it."""
    scored = [item for item, _ in subject.scored]
    if any(item.finding is None for item in scored):
        return
    yield from headed("What was looked for", HEADING)
    rows = [[safe(kind.words), safe(", ".join(kind.looked)) or soft("no detector")] for kind in kinds_of(scored)]
    assert len(rows) == len(KINDS)
    yield grid([["Kind of manipulation", "Looked for by"], *rows], [60 * mm, width - 60 * mm])


def where_from(subject: Subject) -> Iterator[Flowable]:
    """What the file's content credentials and its own entries say; nothing for a result of an earlier version."""
    lines = provenance_lines(subject.result)
    if lines:
        yield from headed("Where the file comes from", HEADING)
        yield from (Text(safe(line), SMALL) for line in lines)


def origin(subject: Subject, *, width: float) -> Iterator[Flowable]:
    """What made the numbers: versions, parameters, weights, images."""
    result = subject.result
    yield from headed("Where the numbers come from", HEADING)
    rows = [["Detector", "Version, parameters, weights"]]
    for item in result.detectors:
        source = item.provenance
        told = [
            safe(
                f"Version {source.version}, contract {source.contract}, run as {source.runner}"
                + (", scores from the cache" if item.cached else "")
            )
        ]
        if source.image:
            told.append(f"Image {mono(source.image)}")
        if source.parameters:
            told.append(brief(f"Parameters: {words.parameters(source.parameters)}"))
        weights = sorted(source.weights.items())
        told += [f"Weights {brief(file)}, sha256 {mono(sha256)}" for file, sha256 in weights[:_MOST_WEIGHTS]]
        if len(weights) > _MOST_WEIGHTS:
            told.append(soft(f"{len(weights) - _MOST_WEIGHTS} more files of weights are in result.json"))
        if item.worth:
            told.append(f"Reference set {safe(item.worth.reference)}, sha256 {mono(item.worth.data_sha256)}")
        if item.paper:
            told.append(soft(item.paper[:400]))
        rows.append([bold(item.title), "<br/>".join(told)])
    worker = result.media_worker
    if worker:
        rows.append(
            [
                bold("Reading of the file"),
                f"Run as {safe(worker.runner)}" + (f", image {mono(worker.image)}" if worker.image else ""),
            ]
        )
    rows.append(
        [
            bold("DeepFake-o-meter"),
            safe(
                f"Version {result.platform_version}, mode {result.mode}, {counted(result.sampled_frames, 'frame')} looked at, "
                f"report {result.id}"
            ),
        ]
    )
    yield grid(rows, [34 * mm, width - 34 * mm])


def limits(subject: Subject) -> Iterator[Flowable]:
    """What is known to make each detector fail, as its card says."""
    known = [(item.title, item.limits) for item in subject.result.detectors if item.limits]
    if not known:
        return
    yield from headed("Known limits of the detectors", HEADING)
    for title, sentences in known:
        yield Text(f"{bold(title)}: {safe(' '.join(sentences))}", SMALL)


# --------------------------------------------------------------------------- how sure, words


def how_sure_words(subject: Subject, *, width: float) -> Iterator[Flowable]:
    """What the page ``/how-sure`` says, whole: a reader of the document has no page to go to."""
    yield from headed("How sure a finding is", HEADING)
    for paragraph in (how_sure.RATIO, how_sure.INTERVAL, how_sure.LEVEL, how_sure.FOREIGN, how_sure.STRETCHES):
        yield Text(safe(paragraph), SMALL)
    here = {item.finding.code for item, _ in subject.scored if item.finding}
    rows = [["Reason", "When", "Finding then"]]
    for reason in how_sure.REASONS:
        mark = f"<br/>{soft('in this report')}" if reason.code in here else ""
        rows.append(
            [f"{bold(reason.short[0].upper() + reason.short[1:])}{mark}", safe(reason.when), safe(reason.finding)]
        )
    yield from headed("Reasons, in the order in which they are asked", SUBHEADING)
    yield grid(rows, [48 * mm, width - 88 * mm, 40 * mm])
    yield from headed("Levels of support", SUBHEADING)
    levels = [
        ["For manipulation: ratio", "For real material: ratio", "Words"],
        *([safe(cell) for cell in row] for row in how_sure.levels()),
    ]
    yield grid(levels, [50 * mm, 50 * mm, width - 100 * mm])
    yield from headed("Numbers of the rules", SUBHEADING)
    yield grid(
        [[bold(value), safe(meaning)] for value, meaning in how_sure.thresholds()],
        [50 * mm, width - 50 * mm],
        head=False,
    )
    yield Spacer(0, 2 * mm)


def glossary(width: float) -> Iterator[Flowable]:
    """The words of the document."""
    yield from headed("Words", HEADING)
    yield grid([[bold(word), safe(meaning)] for word, meaning in _GLOSSARY], [34 * mm, width - 34 * mm], head=False)
    yield Spacer(0, 3 * mm)
