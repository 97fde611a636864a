"""``make bench``, first part: the speed targets, each measured against its floor or its other form in the same run.

    python -m tests.bench.targets [NUMBERS] [--long] [--before CHECKOUT] [--peers FOLDER] [--networks N] [--out FILE]

Seconds of different machines cannot be compared. Limits that are wishes in seconds (targets 1 and 2) were written for a machine that
decodes the clip in .64 s; here they are that multiple of this machine's own decode time, measured beside them. Prints one table, writes
``var/targets.json``, and ends with 1 when a target is missed. Needs the research data.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.table import Table

from shared.machine import cores
from tests.bench import batch_nodes, batches, ensembles, folder, media_pass, nodes, overheads, peers, render
from tests.bench.jobs import CLIP, LIGHT, SHORT, site

#: Seconds the clip's 300 frames took to decode on two cores of the machine that the wishes in seconds were written for.
REFERENCE_DECODE_S = 0.64
ROUNDS = 3


@dataclass(frozen=True)
class Line:
    """One figure of a target: ``figure`` must not exceed ``limit`` (or must reach it, when ``at_least``)."""

    target: int
    what: str
    figure: float
    unit: str
    limit: float
    against: str
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the figure keeps the limit."""
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit


def answer_times(scratch: Path) -> Iterator[Line]:
    """1: one light detector on ten seconds of 1080p, until its numbers are there (a portal shows and mails them then) and until its video
    is; and a cold command."""
    decode = statistics.median(media_pass.decode_floor(CLIP) for _ in range(ROUNDS))
    slower = decode / REFERENCE_DECODE_S
    against = f"decode here {decode:.2f} s, {REFERENCE_DECODE_S} s where the limit was set"
    with site(scratch) as here:
        here.judge(CLIP, ("selfblend",), "quick")
        for mode, limit in (("thorough", 6.0), ("standard", 6.0), ("quick", 3.0)):
            for video, what in ((False, "numbers"), (True, "with video")):
                walls = [here.judge(CLIP, ("selfblend",), mode, video=video).wall_s for _ in range(ROUNDS)]
                yield Line(
                    1, f"selfblend, warm, {mode}, {what}", statistics.median(walls), "s", limit * slower, against
                )
    walls = [overheads.quick_s(CLIP, scratch) for _ in range(ROUNDS)]
    yield Line(1, "analyze --quick, cold", statistics.median(walls), "s", 5.0 * slower, against)


def light_detectors(scratch: Path) -> Iterator[Line]:
    """2: four light detectors in one job stay warm together under the default settings."""
    decode = statistics.median(media_pass.decode_floor(CLIP) for _ in range(ROUNDS))
    with site(scratch) as here:
        here.judge(CLIP, LIGHT, "quick")
        walls = [here.judge(CLIP, LIGHT, "quick").wall_s for _ in range(ROUNDS)]
        evicted = here.evicted()
    limit = 5.0 * decode / REFERENCE_DECODE_S
    yield Line(2, f"{len(LIGHT)} light detectors, 32 frames, warm", statistics.median(walls), "s", limit, "as target 1")
    yield Line(2, "workers evicted in those jobs", evicted, "", 0, "")


def folders(scratch: Path, *, before: Path | None, long: bool) -> Iterator[Line]:
    """3: a folder of short clips: several at once against one after the other."""
    measured = folder.measure(scratch, clips=20, before=before)
    against = "an earlier checkout" if before else "one after the other"
    yield Line(3, "20 short clips, several at once", measured["speed_up"], "x", 2.0, against, at_least=True)
    yield Line(3, "cores busy", 100 * measured["busy"], "%", 92.0, f"{cores()} cores", at_least=True)
    if long:
        more = folder.measure(scratch / "long", clips=200, alone=False)
        rate = more["clips_a_minute"] / measured["clips_a_minute"]
        yield Line(3, "clips a minute, 200 clips", rate, "x", 0.9, "20 clips", at_least=True)


def media_passes(scratch: Path) -> Iterator[Line]:
    """4: the media pass against decoding and one full search in every fifth picture."""
    for mode, limit in (("standard", 1.25), ("thorough", 2.0)):
        measured = media_pass.measure(CLIP, mode=mode)
        against = f"decode {measured['decode']:.2f} s + search {measured['detect']:.2f} s"
        yield Line(4, f"media pass, {mode}", measured["ratio"], "x", limit, against)


def heavy_detectors(scratch: Path) -> Iterator[Line]:
    """5: large networks against the machine's fastest matrix product."""
    for what, limit in ensembles.TARGETS.items():
        item = ensembles.measure(what, CLIP, scratch)
        against = f"decode {item['decode_s']:.2f} s + {item['gflop']:.0f} GFLOP at {item['gemm_gflops']:.0f} a second"
        yield Line(5, f"{what}, {item['faces']} faces, warm, without video", item["ratio"], "x", limit, against)


def against_peers(scratch: Path, *, programs: Path | None, networks: int | None) -> Iterator[Line]:
    """6: the published programs with the same weights on the same clip."""
    for item in peers.measure(CLIP, scratch, programs=programs, networks=networks):
        yield Line(6, item.what, item.ratio, "x", item.limit, item.against, at_least=True)


def added_time(scratch: Path) -> Iterator[Line]:
    """7: what a warm worker and a container add, and whether a worker's memory grows."""
    yield Line(7, "a warm worker adds to a job", overheads.round_trip_ms(scratch), "ms", 5.0, "the detector's own call")
    for name, grown in overheads.growth(scratch, clip=SHORT, jobs=50).items():
        yield Line(7, f"memory of {name} after 50 jobs", grown, "x", 1.1, "after the third")
    costs = overheads.container_cost(scratch)
    if costs is not None:
        yield Line(7, "a container", costs, "x", 1.03, "a process")


def result_video(scratch: Path) -> Iterator[Line]:
    """8: the result video against decoding the clip and encoding the same pictures."""
    measured = render.measure(CLIP)
    against = f"decode {measured['decode']:.2f} s + encode {measured['encode']:.2f} s"
    yield Line(8, "result video", measured["wall_ratio"], "x", 1.0, against)


def many_files(scratch: Path, *, long: bool) -> Iterator[Line]:
    """9: a batch, which draws nothing, against ``analyze``, and its own estimate."""
    measured = batches.measure(scratch, clips=20)
    against = f"analyze --no-video; {measured['clips_a_minute']:.0f} clips a minute"
    yield Line(9, "20 short clips as a batch", measured["speed_up"], "x", 1.0, against, at_least=True)
    if long:
        folder = batches.differing_clips(scratch / "long", clips=200)
        found = batches.estimated(scratch, folder)
        against = f"dry run {found['said_s']:.0f} s ({found['low_s']:.0f} to {found['high_s']:.0f}), real {found['real_s']:.0f} s"
        yield Line(9, "estimate of a batch of 200 clips is off by", 100 * found["off"], "%", 15.0, against)


def cluster(scratch: Path) -> Iterator[Line]:
    """10: what a node of a cluster adds to a job, and two nodes against one. Needs the extra [cluster]."""
    if find_spec("ray") is None:
        print("           a cluster's nodes are not measured: 'make cluster' installs Ray")
        return
    on_a_node, in_a_thread = nodes.between_jobs_s(scratch)
    yield Line(10, "a node adds to a job", 1000 * (on_a_node - in_a_thread), "ms", 50.0, "a thread of the dispatcher")
    (scratch / "scaling").mkdir()
    rates = nodes.scaling(scratch / "scaling", (1, 2))
    yield Line(10, "jobs a second, 2 nodes", rates[2] / rates[1], "x", 1.9, "1 node", at_least=True)
    rates = batch_nodes.scaling(scratch / "batches", (1, 2))
    yield Line(10, "files of a batch a second, 2 nodes", rates[2] / rates[1], "x", 1.9, "1 node", at_least=True)


def main() -> int:
    """Measure, print, write; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", type=int, help="targets to measure; default: all")
    parser.add_argument("--long", action="store_true", help="also folders of 200 clips")
    parser.add_argument("--before", type=Path, help="an earlier checkout with its .venv, for the folder of clips")
    parser.add_argument("--peers", type=Path, help="folder with the published programs (tests/bench/peers.py says how)")
    parser.add_argument("--networks", type=int, help="of an ensemble, for both sides of target 6; default: all")
    parser.add_argument("--out", type=Path, default=Path("var/targets.json"))
    asked = parser.parse_args()
    if not CLIP.is_file():
        print("The targets are for a clip of the research data, which is not here.")
        return 0
    measures: dict[int, Callable[[Path], Iterator[Line]]] = {
        1: answer_times,
        2: light_detectors,
        3: lambda scratch: folders(scratch, before=asked.before, long=asked.long),
        4: media_passes,
        5: heavy_detectors,
        6: lambda scratch: against_peers(scratch, programs=asked.peers, networks=asked.networks),
        7: added_time,
        8: result_video,
        9: lambda scratch: many_files(scratch, long=asked.long),
        10: cluster,
    }
    lines: list[Line] = []
    began = time.perf_counter()
    for number in asked.numbers or measures:
        with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
            for line in measures[number](Path(scratch)):
                lines.append(line)
                print(f"{time.perf_counter() - began:6.0f} s  {line.what}: {line.figure:.2f} {line.unit}", flush=True)
    show(lines)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps([asdict(line) | {"met": line.met} for line in lines], indent=1), encoding="utf-8")
    return 0 if all(line.met for line in lines) else 1


def show(lines: list[Line]) -> None:
    """One row a figure."""
    table = Table("target", "what", "measured", "limit", "", "against")
    for line in lines:
        sign = ">=" if line.at_least else "<="
        table.add_row(
            str(line.target),
            line.what,
            f"{line.figure:.2f} {line.unit}",
            f"{sign} {line.limit:.2f} {line.unit}",
            "met" if line.met else "missed",
            line.against,
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    raise SystemExit(main())
