"""The one error tree, with stable codes and the sentences people read.

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

from shared.languages import _, marked

#: code -> what happened and what to do. Shown in mails, pages, result.json and the command line; docs/errors.md says who sees which.
SENTENCES: Final[dict[str, str]] = {
    # nothing to judge
    "no_face": "No face was found, so detectors that judge faces cannot score this file. Use a video or picture in which a face can be seen well.",  # noqa: E501
    "no_picture": "The file has no pictures to look at. Choose a detector that listens to sound, or upload the video that the sound belongs to.",  # noqa: E501
    "no_sound": "The file has no sound to listen to. Choose a detector that looks at faces or pictures, or upload the file with its sound.",
    "lossy_picture": "This needs a picture whose pixels are still those that were first saved, as in PNG. In this file they were changed: by compression (JPEG, WebP, HEIC, video), an animation, a palette, transparency or a colour profile. Upload the original file, if there is one.",  # noqa: E501
    "picture_too_small": "The picture is too small for this detector. Upload a larger copy of it, not an enlarged one.",
    "sound_too_short": "Too little sound with speech in it: this detector needs a longer piece, and its model card says how long. Upload a longer part in which somebody speaks.",  # noqa: E501
    "no_speech": "No speech was found in the sound, and this detector judges voices. Upload a part in which somebody speaks.",
    "silence": "The sound is silent, or nearly, so there is no voice to judge. Upload a part in which somebody speaks, or the original at its full level.",  # noqa: E501
    "not_judgeable": "Nothing in this file suits this detector. Its model card says what it needs.",
    "mouth_or_eyes_closed": "This detector needs a frame with an open mouth and both eyes open; none was found. In a clip, thorough mode or a longer part may have one.",  # noqa: E501
    "landmarks_not_found": "This detector measures points of the face (eyes, nose, mouth); they could not be located on any face. Use a sharper view from the front.",  # noqa: E501
    "needs_a_clip": "This detector compares consecutive frames, and there are too few. Use a clip; for a long one, choose thorough mode.",
    "person_too_brief": "Nobody is visible long enough for this detector. Use a longer clip.",
    "no_face_at_start": "This detector looks at the first 100 frames only, and none of them shows a face for 31 frames in a row. Trim the clip to start with the face.",  # noqa: E501
    "face_not_followed": "The face moves too much or is hidden too often to be cut out of every frame, which this detector needs. Use a part in which it is seen all the time.",  # noqa: E501
    "face_seldom_seen": "This detector needs a face in most frames, and most show none. Cut out the part with the face and upload that.",
    "too_few_frames": "This detector needs one picture or at least three frames; only two were sampled. Use a longer clip.",
    "face_too_small": "Every face is too small for this detector. Use a larger picture of the face.",
    # media
    "media_unreadable": "The file could not be decoded: it is damaged, or it is not a video, picture or sound. Copy or export it again, and upload that.",  # noqa: E501
    "media_damaged": "Every picture of this clip is damaged, so nothing can be judged. Copy or download it again, and upload that.",
    "unsupported_media": "This type of file is not accepted. Use MP4, MOV, MKV, WebM, AVI, MPEG, JPEG, PNG, WebP, HEIC, WAV, FLAC, MP3, M4A or Ogg.",  # noqa: E501
    "file_empty": "The file is empty: it has no content at all. Copy or download it again, and upload that.",
    "only_zeros": "This file begins with zeros where its type should be, as a copy does that broke off. Copy or download it again, and upload that.",  # noqa: E501
    "changed_as_text": "The bytes of this file were changed by a program that took them for text, so it cannot be read. Copy or download the original file again, and upload that.",  # noqa: E501
    "heif_picture": "This is a HEIF picture of a kind that cannot be read here (not coded in HEVC), whatever its name says. Open it in a photo app, export it as JPEG, and upload that.",  # noqa: E501
    "avif_picture": "This is an AVIF picture, whatever its name says, and this installation has no decoder for it. Open it in a photo app, export it as JPEG or PNG, and upload that.",  # noqa: E501
    "jpeg_xl_picture": "This is a JPEG XL picture, and that type is not accepted. Export it as JPEG or PNG, and upload that.",
    "jpeg_2000_picture": "This is a JPEG 2000 picture, and that type is not accepted. Export it as JPEG or PNG, and upload that.",
    "raw_photo": "This is a camera's raw file, not a finished picture. Export it as JPEG, or use the JPEG the camera wrote beside it, and upload that.",  # noqa: E501
    "photoshop_file": "This is a Photoshop file, not a finished picture. Export it as PNG or JPEG, and upload that.",
    "pdf_document": "This is a PDF document. Save the picture in it as PNG or JPEG, and upload that.",
    "archive_file": "This is an archive or an office document with files inside. Unpack it, and upload the video or picture itself.",
    "svg_drawing": "This is an SVG drawing: shapes, not a photograph or a video. Upload the photograph or video in question.",
    "web_page": "This is a web page, not the picture or video shown on it. Open the picture or video alone, save it, and upload that.",
    "text_file": "This file holds text, not a picture, video or sound: often a site's error message, a playlist, captions or a link. Download the picture, video or sound itself, and upload that.",  # noqa: E501
    "sound_file": "This kind of sound file (AMR, AIFF, CAF or Wave64) is not accepted. Save it as WAV, FLAC or MP3, and upload that.",
    "no_picture_or_sound": "The file has neither a picture nor sound, only captions or other data. Upload a video, a picture or a sound file.",  # noqa: E501
    "video_piece": "This is one piece of a streamed video, which cannot be read without its beginning. Download the whole video as one file, and upload that.",  # noqa: E501
    "video_unfinished": "The recording or download of this video was interrupted before it could be finished, so its pictures cannot be read. Download it again, or have the recording repaired first.",  # noqa: E501
    "apple_double": "This is a side file in which macOS keeps notes about another file; it holds no picture. Upload the file of the same name without “._”.",  # noqa: E501
    "media_protected": "The file is encrypted (copy protection, DRM), so it cannot be read. Upload a copy that plays without the shop's or channel's own app.",  # noqa: E501
    "codec_unknown": "The pictures or the sound of this file are coded in a way that cannot be read here, as by cameras' raw formats. Export it as MP4 (H.264) or WAV, and upload that.",  # noqa: E501
    "picture_cut_off": "The end of this picture's file is missing or damaged, and no whole face is in the part that is left. Copy or download the file again, and upload that.",  # noqa: E501
    "media_too_large": "The picture has more pixels than are accepted here. Scale it down, and use that.",
    "media_too_long": "The clip is longer, or has more frames, than is accepted here. Cut out the part in question, and use that.",
    "pack_too_large": "The faces of this clip need more working space than is allowed here. Choose quick mode or a shorter part.",
    "media_timed_out": "Reading the file, or drawing its video, took longer than is allowed here. Choose quick mode or a shorter part.",
    "media_changed": "The file is no longer the one that was handed in: it was changed or removed meanwhile. Hand it in again.",
    "media_bad_output": "The output of the media pass was not valid and was not used. After an update of the platform, the operator runs 'make images'.",  # noqa: E501
    # weights and cards
    "weights_missing": "The weights of this detector are not installed. The operator installs them with 'deepfake-o-meter weights fetch'.",
    "weights_manual": "This file cannot be downloaded automatically; download it yourself. 'deepfake-o-meter weights add' installs it.",
    "weights_mismatch": "The weights file differs from the published one (sha256), so it is not used. Fetch it again.",
    "weights_do_not_fit": "The weights file does not fit this detector: it is damaged, or of another network. The operator installs the right one with 'deepfake-o-meter weights add'.",  # noqa: E501
    "weights_changed": "The published file is not the one that was first installed here, so it is not used. The operator finds out whether its authors replaced it.",  # noqa: E501
    "weights_busy": "Too many people download these weights at the moment. Try again in some hours.",
    "weights_not_converted": "The published weights of this detector must be converted once; its model card gives the command.",
    "weights_unreachable": "The weights could not be fetched. Check the network, then run 'deepfake-o-meter weights fetch' again.",
    "weights_link_dead": "The published link to these weights is dead. Get the file elsewhere; 'deepfake-o-meter weights add' installs it.",
    "weights_not_stored": "The weights could not be stored. Check the owner and the rights of their folder.",
    "unknown_detector": "No detector has that name. 'deepfake-o-meter detectors' lists them.",
    "bad_card": "The card of this detector has a mistake, so it cannot run. 'deepfake-o-meter detectors' says what to correct.",
    "bad_name": "This name cannot be used for a detector. Use small letters, digits and _, beginning with a letter.",
    "bad_state": "A detector cannot go into this state now. It moves up one step at a time.",
    "state_request_refused": "The back-end does not know this operator's token: set DFOM_OPERATOR_TOKEN to the same value for both halves.",
    "state_request_late": "The back-end took this request up more than ten minutes after it was made, so nothing was changed. Ask again.",
    "state_requests_waiting": "The back-end has not taken up earlier requests yet. See whether it runs.",
    "intake_paused": "This site takes no new files at the moment. Work on earlier ones goes on. Try again later.",
    "not_admitted": "The detector has not passed the admission check. Run 'deepfake-o-meter detectors check' and correct what it names.",
    "unknown_strategy": "The card of this detector names an unknown aggregation strategy. Ask the operator to fix it.",
    # workers
    "detector_failed": "The detector stopped with an error. The operator finds its last words in the back-end's log.",
    "detector_bad_output": "The detector's output was not valid and was not used. The operator finds the reason in the back-end's log.",
    "detector_timed_out": "The detector did not finish within its time limit. Choose quick mode or a shorter part.",
    "worker_died": "The worker's process ended unexpectedly. The operator finds the reason in the back-end's log.",
    "worker_not_started": "The worker could not be started. The operator finds the reason in the back-end's log.",
    "out_of_memory": "The worker ran out of memory. Quick mode, or a file with fewer pixels, needs less.",
    "bad_request": "The worker did not understand the request. After an update of the platform, the operator runs 'make images'.",
    "unknown_verb": "The worker does not know this request. After an update of the platform, the operator runs 'make images'.",
    "output_too_large": "The worker wrote more than it is allowed to and was stopped.",
    "engine_unavailable": "The container engine does not answer. The operator starts Docker.",
    "container_required": "This detector is not part of the platform, so it runs in a container only. Start Docker and build its image.",
    "needs_tensorflow": "This detector needs TensorFlow, which is in its container image only. Start Docker and run 'make images'.",
    "image_missing": "The container image is not built. The operator runs 'make images'.",
    "image_outdated": "The container image was made for another version of the detector or the platform. The operator runs 'make images'.",
    "image_refused": "The container image declares volumes, which have no limit. Remove VOLUME from its Dockerfile.",
    # jobs
    "video_given_up": "Drawing it was interrupted too often, so it was given up.",
    "video_pending": "The result video is still being drawn. Everything can be downloaded when it is there; single files can be now.",
    "too_many_attempts": "The analysis of this file was interrupted too often, so it was given up. Upload the file again.",
    "record_invalid": "The stored submission could not be read and was set aside. Upload the file again.",
    "cancelled": "The submission was cancelled.",
    "expired": "This result was deleted automatically because its retention time is over.",
    "deleted": "This submission was deleted at its owner's request.",
    "internal": "Something went wrong on our side. The operator finds the details in the log.",
    # uploads
    "form_incomplete": "Something in the form is missing or wrong. The fields to correct are named.",
    "form_expired": "This page was open too long, or cookies are blocked. Reload it and send the form again.",
    "upload_too_large": "The file is larger than this site takes. Cut out the part in question and upload that.",
    "request_too_slow": "The upload came in too slowly and was stopped. Check your connection, then try again.",
    "too_often": "Too many requests in a short time. Wait a few minutes, then try again.",
    "too_many_open": "Too many submissions of this e-mail address are not finished yet. Wait until some are.",
    "address_refused": "Files are not fetched from this web address. Download the file yourself, then upload it.",
    "fetch_failed": "The other site did not hand out the file. Download it yourself, then upload it.",
    "fetch_timed_out": "The file did not arrive in time. Download it yourself, then upload it.",
    "fetch_busy": "Several files are being fetched right now. Try again in a minute, or upload the file.",
    "media_gone": "The file is no longer here: it was deleted, or its retention time is over. Upload it again.",
    # links to pages
    "link_unsupported": "Of this page no clip can be fetched here. Give the address of the post or the clip itself, or download the clip and upload it.",  # noqa: E501
    "link_without_clip": "The page holds no video, or it was removed. Open it in a browser; if the clip plays there, download it and upload it.",  # noqa: E501
    "link_needs_login": "The page shows its clip only to people who are logged in, so it is not fetched. Download the clip and upload it.",
    "link_not_here": "The page does not show its clip in the country of this server. Download the clip and upload it.",
    "link_protected": "The clip is protected against copying, so it is not fetched.",
    "link_live": "Live broadcasts are not fetched. Wait until it is over, or upload a recording.",
    "link_too_large": "The clip of this page is larger than this site takes. Cut out the part in question and upload that.",
    "link_failed": "The site did not hand out the clip. Try again later, or download the clip and upload it.",
    "links_unavailable": "Clips of pages cannot be fetched here at the moment. Download the clip and upload it.",
    # pages
    "not_comparable": "Only two different results of the same file can be compared.",
    "not_found": "There is no such page, or the result was deleted. Check the link you were given.",
    "pin_needed": "This file belongs to a result that is opened with a PIN. Enter the PIN again: the result closes after a while.",
    "pin_wrong": "That PIN is wrong. Enter the one that was chosen when the file was sent.",
    "pin_wait": "Too many wrong PINs in a row. Wait before the next try.",
    "result_locked": "Too many wrong PINs: this result is locked. If an e-mail address was given with the file, we sent a link there that unlocks it. Otherwise, ask the operator of this site to unlock it.",  # noqa: E501
    "unlock_unknown": "This link was used already, was replaced by a newer one, or is not complete. Open the result itself; while it is locked, use the newest mail.",  # noqa: E501
    # programs (the API)
    "key_needed": "This needs an API key in the header Authorization, or the PIN of the submission in the header PIN. The operator of this site issues keys.",  # noqa: E501
    "key_invalid": "This API key is not known, was revoked or has expired. Ask the operator of this site for another one.",
    "key_scope": "This API key may not do that. Ask the operator of this site for one with the scope that is named.",
    "quota_used": "This API key has used all of its submissions of the day. Try again after midnight UTC, or ask the operator for more.",
    "request_invalid": "Something in the request is missing, wrong or unknown. The parts to correct are named, or the documentation says how to ask.",  # noqa: E501
    "method_not_allowed": "This address does not accept this kind of request. The header Allow lists what it accepts.",
    "no_such_part": "The file does not have the part that was asked for. The header Content-Range says how long it is.",
    "idempotency_differs": "This Idempotency-Key came with another request before. Use a new one for each new request.",
    "webhook_refused": "Messages are not sent to this address. Give one that begins with https:// and is on the public internet.",
    "not_finished": "There is no result yet: the analysis is not finished. Wait until the state is done.",
    "no_result": "There is no result: the analysis failed, or the result was deleted. The status says why.",
    # command line and settings
    "unknown_key": "There is no API key with this id. 'deepfake-o-meter keys list' lists them.",
    "cannot_listen": "The portal cannot listen on this address: it is in use, or not one of this machine.",
    "no_detector": "No detector was named. Name at least one after --detectors.",
    "bad_list": "The list of files cannot be read. Write one path or web address in each line, or a CSV with a heading.",
    "batch_differs": "The folder holds a batch with other options. Give the same command as before, or choose another --out.",
    "batch_running": "Another process works on this batch. Wait for it, or choose another --out.",
    "no_media": "The named files and folders contain no video, picture or sound.",
    "no_such_file": "There is no such file or folder, or it cannot be read.",
    "out_not_writable": "The folder for the results cannot be written. Choose another one with --out.",
    "secret_damaged": "A secret of the portal is damaged. Restore it from a backup; a new one invalidates every PIN.",
    "unknown_setting": "There is no such setting. 'deepfake-o-meter settings' lists all settings.",
    "bad_setting": "A setting has a value it cannot have. The message names it, and a right example.",
    # storage
    "cluster_away": "The Ray cluster does not answer. The operator starts its head, and checks DFOM_RAY_ADDRESS.",
    "cluster_open": "The Ray cluster takes work from anyone who reaches it: its token authentication is off. The operator turns it on.",
    "cluster_unfit": "No machine of the cluster can judge this batch. The same command goes on when one can.",
    "cluster_missing": "The Python package 'ray' is missing. The operator runs 'make cluster'.",
    "second_dispatcher": "Another dispatcher works on this folder. Stop it first; two would do the work twice.",
    "disk_full": "The disk of this site is full, so nothing was stored. Try again later; the operator has to free some space.",
    "store_unavailable": "The storage of this site does not answer. Try again in a moment.",
}
marked(SENTENCES)

#: Why a detector cannot judge a file: the reasons its worker may give in ``not_applicable``. Others count as ``not_judgeable``.
REASONS: Final = frozenset(
    {
        "no_face",
        "no_picture",
        "no_sound",
        "lossy_picture",
        "picture_too_small",
        "sound_too_short",
        "no_speech",
        "silence",
        "not_judgeable",
        "mouth_or_eyes_closed",
        "landmarks_not_found",
        "needs_a_clip",
        "person_too_brief",
        "no_face_at_start",
        "face_not_followed",
        "face_seldom_seen",
        "too_few_frames",
        "face_too_small",
    }
)
#: The codes a worker may give in ``error``; the others belong to the platform. Anything else counts as ``detector_failed``.
WORKER_CODES: Final = frozenset(
    {
        "bad_request",
        "detector_failed",
        "needs_tensorflow",
        "out_of_memory",
        "unknown_verb",
        "weights_do_not_fit",
        "weights_mismatch",
        "weights_missing",
        "weights_not_converted",
    }
)
#: The media worker may give these as well.
MEDIA_CODES: Final = frozenset(
    {
        "media_unreadable",
        "unsupported_media",
        "file_empty",
        "only_zeros",
        "changed_as_text",
        "heif_picture",
        "avif_picture",
        "jpeg_xl_picture",
        "jpeg_2000_picture",
        "raw_photo",
        "photoshop_file",
        "pdf_document",
        "archive_file",
        "svg_drawing",
        "web_page",
        "text_file",
        "sound_file",
        "no_picture_or_sound",
        "video_piece",
        "video_unfinished",
        "apple_double",
        "media_protected",
        "codec_unknown",
        "picture_cut_off",
        "media_too_large",
        "media_too_long",
        "pack_too_large",
        "media_timed_out",
        "media_damaged",
    }
)

#: The worker of links may give these.
LINK_CODES: Final = frozenset(
    {
        "link_unsupported",
        "link_without_clip",
        "link_needs_login",
        "link_not_here",
        "link_protected",
        "link_live",
        "link_too_large",
        "link_failed",
    }
)


class DfomError(Exception):
    """Base of all our errors: a stable ``code`` and a sentence for people."""

    def __init__(self, code: str, sentence: str | None = None) -> None:
        self.code = code
        english = sentence or SENTENCES.get(code) or SENTENCES["internal"]
        self.sentence = sentence or _(english)
        super().__init__(f"{code}: {english}")  # logs are English


class UserError(DfomError):
    """The user can correct it: ``sentence`` is shown as it is, ``status`` is the HTTP status, ``title`` is English here."""

    def __init__(self, code: str, sentence: str | None = None, *, status: int = 400, title: str | None = None) -> None:
        super().__init__(code, sentence)
        self.status = status
        self.title = _(title) if title else code.replace("_", " ").capitalize()


class RetryableError(DfomError):
    """Temporary trouble: the same work may succeed later."""


#: ``errno`` of a disk or a quota that is full.
NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)
_OF_ONE_FILE: Final = (errno.EACCES, errno.EPERM, errno.EIO)


class StoreTrouble(RetryableError, OSError):
    """A step on the shared folders failed and left them unchanged. Also an OSError, so that code which handles those handles this.

    ``code`` is ``disk_full`` or ``store_unavailable``; ``errno`` is that of the failed call, None when the folder is away.
    """

    def __init__(self, error: OSError | None = None, *, sentence: str | None = None) -> None:
        full = error is not None and error.errno in NO_SPACE
        super().__init__("disk_full" if full else "store_unavailable", sentence)
        self.errno = error.errno if error else None

    @property
    def may_be_of_one_file(self) -> bool:
        """True for what another owner or a bad sector causes: if the folders answer, it is this one file's trouble."""
        return self.errno in _OF_ONE_FILE


class PermanentError(DfomError):
    """The work will not succeed, however often it is tried."""


def sentence_for(untrusted_code: str) -> str:
    """The sentence of a code that came from a worker; an unknown code gets the neutral one."""
    return _(SENTENCES.get(untrusted_code, SENTENCES["detector_failed"]))
