"""The one error tree, with stable codes and the words people read.

::

    DfomError
    |-- UserError          shown to the person, says what to do; carries an HTTP status
    |-- RetryableError     passing trouble: the same work may succeed later
    |   `-- StoreTrouble   a shared folder is away, full or does not answer; an OSError as well
    `-- PermanentError     the work will not succeed; the job ends with this code

Only codes cross the boundary to workers; ``SENTENCES`` turns a code into the sentence shown. May be imported by all.
"""

from __future__ import annotations

import errno
from typing import Final

#: code -> what happened and what to do. Shown in mails, pages, result.json and the command line.
SENTENCES: Final[dict[str, str]] = {
    # nothing to judge
    "no_face": "No face was found. Detectors of faces have no opinion on this file; use a clip in which a face is visible.",
    "no_video": "The file holds sound only. Upload a file with a picture.",
    "not_judgeable": "Faces were found, but none in the state this detector needs.",
    "mouth_or_eyes_closed": "This detector needs a frame with open mouth and both eyes open; none was found.",
    "landmarks_not_found": "The facial landmarks this detector measures could not be placed on any face.",
    "needs_a_clip": "This detector compares frames that follow one another; here are too few. Use a clip; for a long one, thorough mode.",
    "person_too_brief": "Nobody is in the picture long enough for this detector; use a longer clip.",
    "no_face_at_start": "This detector looks at the first 100 frames only, and no face stays there for 31. Cut the clip to the face.",
    "face_not_followed": "The face moves or hides too much to be cut out of every frame, which this detector needs.",
    "face_seldom_seen": "Most frames show no face, which this detector needs. Cut out the part with a face and upload that.",
    "too_few_frames": "This detector judges a picture or a clip of three frames or more, and two were looked at. Use a longer clip.",
    "face_too_small": "Every face is too small for this detector; use a larger picture of the face.",
    # media
    "media_unreadable": "The file could not be decoded: it is damaged or not a video or image. Re-export it and upload it again.",
    "unsupported_media": "This kind of file is not accepted. Use MP4, MOV, MKV, WebM, AVI, JPEG, PNG or WebP.",
    "media_too_large": "The file has too many pixels, or its picture is too large. Scale it down and upload it again.",
    "media_too_long": "The clip is longer than this site accepts. Cut out the part in question and upload that.",
    "pack_too_large": "The faces of this clip need more scratch space than this site allows. Use 'quick' or a shorter part.",
    "media_timed_out": "Reading this clip took longer than this site allows. Use 'quick' or a shorter part.",
    "media_changed": "The stored file no longer equals what was uploaded. Upload it again.",
    # workers
    "weights_missing": "The weights of this detector are not installed. The operator installs them with 'deepfake-o-meter weights fetch'.",
    "weights_manual": "This file is not offered to programs; a person must fetch it. 'weights add' installs it.",
    "weights_mismatch": "The weights file differs from the published one (sha256), so it is not used. Fetch it again.",
    "weights_not_converted": "The published weights of this detector must be converted once; its model card has the command.",
    "detector_failed": "The detector stopped with an error of its own. The operator finds the trace in the worker's log.",
    "detector_bad_output": "The detector's output broke the contract and was not used.",
    "detector_out_of_memory": "The detector needed more memory than it may use.",
    "detector_timed_out": "The detector did not finish within its time limit.",
    "worker_died": "The worker's process ended in the middle of the work.",
    "worker_not_started": "The worker could not be started. The operator finds the reason in the back-end's log.",
    "out_of_memory": "The worker ran out of memory.",
    "unknown_detector": "There is no detector of that name. 'deepfake-o-meter detectors' lists them.",
    "bad_card": "The card of this detector has a mistake, so it cannot run. 'deepfake-o-meter detectors' says what to correct.",
    "bad_request": "The worker was asked something it does not understand.",
    "unknown_verb": "The worker was asked something it does not understand.",
    "output_too_large": "The worker wrote more than it may and was stopped.",
    "engine_unavailable": "The container engine does not answer.",
    "container_required": "This detector is not part of the platform, so it runs in a container only. Start Docker and build its image.",
    "needs_tensorflow": "This detector needs TensorFlow, which is in its container image only. Start Docker and run 'make images'.",
    "image_missing": "The container image is not built. The operator runs 'make images'.",
    "image_outdated": "The container image differs from the detector's card. The operator runs 'make images'.",
    "image_refused": "The container image declares volumes, which have no limit. Remove VOLUME from its Dockerfile.",
    "media_bad_output": "The output of the media pass broke its contract and was not used.",
    # jobs
    "too_many_attempts": "The work on this submission broke off three times, so it was given up.",
    "record_invalid": "The stored submission is not readable and was set aside.",
    "all_failed": "No detector could give a result.",
    "cancelled": "The submission was cancelled.",
    "expired": "This result was deleted after its retention time.",
    "deleted": "This submission was deleted, as its owner asked.",
    "unknown_strategy": "The card of this detector names a way of joining scores that does not exist. The operator corrects it.",
    "internal": "Something went wrong on our side. The operator finds the details under the reference shown.",
    # store
    "second_dispatcher": "Another dispatcher works on this folder. Stop it first; two would do the work twice.",
    "disk_full": "The disk is full, nothing was stored. Free some space, then upload again.",
    "upload_too_large": "The file is larger than this site takes. Cut out the part in question and upload that.",
    "request_too_slow": "The upload came in too slowly and was stopped. Check your connection, then try again.",
    "store_unavailable": "The shared folder does not answer. Try again in a moment.",
}


class DfomError(Exception):
    """Base of all our errors: a stable ``code`` and a sentence for people."""

    def __init__(self, code: str, sentence: str | None = None) -> None:
        self.code = code
        self.sentence = sentence or SENTENCES.get(code) or SENTENCES["internal"]
        super().__init__(f"{code}: {self.sentence}")


class UserError(DfomError):
    """The person can mend it: ``sentence`` is shown as it is, ``status`` is the HTTP status."""

    def __init__(self, code: str, sentence: str | None = None, *, status: int = 400, title: str | None = None) -> None:
        super().__init__(code, sentence)
        self.status = status
        self.title = title or code.replace("_", " ").capitalize()


class RetryableError(DfomError):
    """Passing trouble: the same work may succeed later."""


class StoreTrouble(RetryableError, OSError):
    """A step on the shared folders failed and left them as they were. An OSError too: whoever waits for a file system waits for this.

    ``code`` is ``disk_full`` or ``store_unavailable``; ``errno`` is that of the failed call, None when the folder is away.
    """

    def __init__(self, error: OSError | None = None, *, sentence: str | None = None) -> None:
        full = error is not None and error.errno in (errno.ENOSPC, errno.EDQUOT)
        super().__init__("disk_full" if full else "store_unavailable", sentence)
        self.errno = error.errno if error else None


class PermanentError(DfomError):
    """The work will not succeed, however often it is tried."""


def sentence_for(untrusted_code: str) -> str:
    """The sentence of a code that came from a worker; an unknown code gets the neutral one."""
    return SENTENCES.get(untrusted_code, SENTENCES["detector_failed"])
