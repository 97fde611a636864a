// The upload form: drag and drop, a generated PIN, progress. Without this script the form works as a plain form.
"use strict";
document.documentElement.classList.add("js");
const form = document.getElementById("upload");
const file = document.getElementById("file");
const url = document.getElementById("url");
const drop = document.getElementById("drop");
const dropText = document.getElementById("drop-text");
const problems = document.getElementById("problems");
const plainText = [...dropText.childNodes].map((node) => node.cloneNode(true));
const limit = Number(form.dataset.limit);
const sizeOf = (bytes) =>
  bytes < 1e6 ? Math.max(1, Math.round(bytes / 1e3)) + " kB" : (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0) + " MB";

// the file that will not be taken, and why: found before it is sent
let refused = null;
// what the server says of the chosen file: its kind and whether its pixels were compressed with loss, each null where that is not sure
let look = null;

// The server knows files by their first bytes: it gets these before the whole file, and says what is wrong.
async function checkType(chosen) {
  let head;
  try {
    head = await chosen.slice(0, 1152).arrayBuffer();
  } catch {
    refuse(chosen, _("This cannot be read. It may be a folder, or a file that was moved. Choose a file."));
    return;
  }
  try {
    const answer = await fetch(form.dataset.kind, {
      method: "POST",
      body: head,
      headers: { Accept: "application/json", "Content-Type": "application/octet-stream", "X-CSRFToken": form.elements.csrf_token.value },
    });
    if (answer.status === 415) refuse(chosen, (await answer.json()).detail);
    else if (answer.ok && file.files[0] === chosen) {
      look = await answer.json();
      offerFitting();
    }
  } catch {
    // no connection: the upload will say so
  }
}

function refuse(chosen, words) {
  if (file.files[0] !== chosen) return;
  refused = { chosen, words };
  say("media", words);
}

// What the browser can show of the file is shown; it also knows how long a clip is. What it cannot show may still be judged.
const preview = document.getElementById("preview");
const longest = Number(form.dataset.longest);
let shown = null;

function showPreview(chosen) {
  if (shown) URL.revokeObjectURL(shown);
  shown = null;
  preview.hidden = true;
  preview.replaceChildren();
  const kind = chosen ? chosen.type.split("/")[0] : "";
  if (!["image", "video", "audio"].includes(kind)) return;
  const part = document.createElement(kind === "image" ? "img" : kind);
  if (kind === "image") part.alt = _("The chosen picture");
  else {
    part.controls = true;
    part.preload = "metadata";
    part.setAttribute("aria-label", kind === "video" ? _("The chosen clip") : _("The chosen sound file"));
    part.addEventListener("loadedmetadata", () => showLength(chosen, part.duration));
  }
  const show = () => {
    if (file.files[0] === chosen) preview.hidden = false;
  };
  part.addEventListener(kind === "image" ? "load" : "loadedmetadata", show);
  part.addEventListener("error", () => part.remove());
  shown = URL.createObjectURL(chosen);
  part.src = shown;
  preview.append(part);
}

const lengthOf = (seconds) => (seconds < 100 ? Math.round(seconds) + " s" : Math.round(seconds / 60) + " min");

function showLength(chosen, seconds) {
  if (file.files[0] !== chosen || !Number.isFinite(seconds)) return; // some files do not say how long they are
  dropText.lastChild.textContent = ` (${sizeOf(chosen.size)}, ${lengthOf(seconds)})`;
  if (seconds > longest) refuse(chosen, _("This is {time} long; the most this site takes is {most}. Cut out the part in question.", { time: lengthOf(seconds), most: lengthOf(longest) }));
}

// Which detectors fit a file: by its first bytes, which the server knows, and until then by its type, as far as that says it for sure: Ogg
// and WebM may hold pictures or sound, a GIF may move.
const STILLS = ["image/jpeg", "image/heic", "image/heif", "image/bmp", "image/tiff"];
const KINDS = {
  sound: { words: () => _("This is a sound file:"), inputs: ["sound"], single: true },
  still: { words: () => _("This is a picture:"), inputs: ["face", "picture"], single: true },
  picture: { words: () => _("This is a picture:"), inputs: ["face", "video", "picture"] },
  video: { words: () => _("This is a video:"), inputs: ["face", "video", "picture", "sound"] },
};

function kindOf(chosen) {
  if (chosen && look) return KINDS[look.kind] || null;
  const type = chosen ? chosen.type : "";
  if (/^audio\/(?!ogg|webm)/.test(type)) return KINDS.sound;
  if (STILLS.includes(type)) return KINDS.still;
  if (type.startsWith("image/")) return KINDS.picture;
  return type.startsWith("video/") ? KINDS.video : null;
}

// The server takes any choice: a detector that does not fit would only say that it has no opinion.
function offerFitting() {
  const chosen = file.files[0];
  const kind = kindOf(chosen);
  const lossy = look ? look.lossy : kind === KINDS.video || (chosen && chosen.type === "image/jpeg");
  const boxes = [...form.querySelectorAll("input[name=detectors]")];
  for (const box of boxes) {
    const fits = !kind || (kind.inputs.includes(box.dataset.input) && !(lossy && "losslessOnly" in box.dataset));
    box.disabled = !fits;
    box.closest(".choice").hidden = !fits;
  }
  const fitting = boxes.filter((box) => !box.disabled).length;
  const originals = boxes.filter((box) => kind && lossy && "losslessOnly" in box.dataset && kind.inputs.includes(box.dataset.input));
  estimate();
  const words = document.getElementById("fitting");
  words.hidden = fitting === boxes.length;
  const judge = fitting
    ? ngettext("{n} of {all} detectors here judges it.", "{n} of {all} detectors here judge it.", fitting, { all: boxes.length })
    : _("no detector here judges it.");
  const kept = originals.length && kind !== KINDS.video ? _("With the original file, as PNG or TIFF, more could: this one was compressed.") : "";
  words.textContent = kind ? [kind.words(), judge, kept].join(" ").trim() : "";
  document.getElementById("of-clips").hidden = !(kind && kind.single);
}

// How long the chosen detectors take, by the medians of jobs here in standard mode; in another mode nothing was measured for this page.
const check = document.getElementById("estimate");
function estimate() {
  const boxes = [...form.querySelectorAll("input[name=detectors]:enabled:checked")];
  const all = form.querySelectorAll("input[name=detectors]:enabled").length;
  const mode = form.querySelector("input[name=mode]:checked");
  const unknown = boxes.filter((box) => !box.dataset.seconds).length;
  const seconds = boxes.reduce((sum, box) => sum + Number(box.dataset.seconds || 0), Number(check.dataset.overhead || 0));
  const time = lengthOf(seconds);
  let words = _("about {time} here", { time });
  if (!boxes.length) words = _("choose a detector");
  else if (mode && mode.value !== "standard") words = _("measured in standard mode only");
  else if (unknown === boxes.length || !check.dataset.overhead) words = _("not measured here yet");
  else if (unknown) words = _("at least {time} here; {missing} of the detectors not measured yet", { time, missing: unknown });
  check.textContent = `(${words})`;
  const values = { n: boxes.length, all, mode: mode.closest("label").querySelector("strong").textContent };
  document.getElementById("check-words").textContent =
    boxes.length === all ? ngettext("The one detector that fits, mode: {mode}.", "All {n} detectors that fit, mode: {mode}.", all, values) : _("{n} of the {all} detectors that fit, mode: {mode}.", values);
}
form.addEventListener("change", (event) => {
  if (["detectors", "mode"].includes(event.target.name)) estimate();
});

function showFile() {
  const chosen = file.files[0];
  refused = look = null;
  drop.classList.toggle("has", Boolean(chosen));
  if (chosen) {
    const name = document.createElement("strong");
    name.textContent = chosen.name;
    dropText.replaceChildren(name, document.createTextNode(` (${sizeOf(chosen.size)})`));
    url.value = "";
  } else {
    dropText.replaceChildren(...plainText);
  }
  offerFitting();
  showPreview(chosen);
  const tooLarge = chosen && chosen.size > limit;
  if (chosen && !tooLarge) checkType(chosen);
  say("media", tooLarge ? _("This file has {size}; the most this site takes is {most}.", { size: sizeOf(chosen.size), most: sizeOf(limit) }) : "");
}

function say(field, text) {
  const place = document.getElementById("wrong-" + field);
  if (place) {
    place.textContent = text;
    place.hidden = !text;
  }
  for (const input of form.querySelectorAll(`[aria-describedby~="wrong-${field}"]:not([role])`)) {
    if (text) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  }
}

function showProblems(title, fields) {
  const list = document.createElement("ul");
  for (const [field, text] of Object.entries(fields)) {
    say(field, text);
    const link = document.createElement("a");
    link.href = "#field-" + field;
    link.textContent = text;
    const item = document.createElement("li");
    item.append(document.getElementById("field-" + field) ? link : text);
    list.append(item);
  }
  const heading = document.createElement("strong");
  heading.textContent = title;
  problems.replaceChildren(heading, list);
  for (const field of Object.keys(fields)) {
    const place = document.getElementById("field-" + field);
    const folded = place && place.closest("details");
    if (folded) folded.open = true;
  }
  problems.hidden = false;
  problems.tabIndex = -1;
  problems.focus();
  problems.scrollIntoView({ block: "center" });
}

file.addEventListener("change", showFile);
url.addEventListener("input", () => {
  if (url.value && file.files.length) {
    file.value = "";
    showFile();
  }
});
for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
// a file dropped beside the field would open in the browser, and the form would be gone
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const dropped = event.dataTransfer.files;
  if (!dropped.length) return;
  if (dropped.length > 1) {
    say("media", _("One file at a time, please."));
    return;
  }
  file.files = dropped;
  showFile();
});

const generate = document.getElementById("generate");
generate.hidden = false;
generate.addEventListener("click", async () => {
  const answer = await fetch(form.dataset.pin, { headers: { Accept: "application/json" } });
  if (answer.ok) {
    document.getElementById("pin").value = (await answer.json()).pin;
    say("pin", "");
  }
});

const copyPin = document.getElementById("copy-pin");
if (navigator.clipboard) {
  copyPin.hidden = false;
  copyPin.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById("pin").value);
    copyPin.textContent = _("Copied");
    setTimeout(() => (copyPin.textContent = _("Copy")), 2000);
  });
}

const example = document.getElementById("example");
example.hidden = false;
example.addEventListener("click", async () => {
  const answer = await fetch(example.dataset.file);
  if (!answer.ok) return;
  const given = new DataTransfer();
  given.items.add(new File([await answer.blob()], "example.jpg", { type: "image/jpeg" }));
  file.files = given.files;
  showFile();
  document.getElementById("field-media").scrollIntoView({ block: "start" });
  file.focus();
});

for (const [id, on] of [["choose-all", true], ["choose-none", false]]) {
  const button = document.getElementById(id);
  if (!button) continue;
  button.hidden = false;
  button.addEventListener("click", () => {
    for (const box of form.querySelectorAll("input[name=detectors]:enabled")) box.checked = on;
    estimate();
  });
}

const send = document.getElementById("send");
const sending = document.getElementById("sending");
const sent = document.getElementById("sent");
const sentText = document.getElementById("sent-text");
let request = null;

function idle() {
  request = null;
  send.hidden = false;
  sending.hidden = true;
}

document.getElementById("cancel").addEventListener("click", () => request && request.abort());

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (request) return;
  problems.hidden = true;
  for (const place of form.querySelectorAll(".wrong")) say(place.id.slice("wrong-".length), "");
  if (file.files[0] && refused && refused.chosen === file.files[0]) {
    showProblems(_("Please check the form."), { media: refused.words });
    return;
  }
  if (file.files[0] && file.files[0].size > limit) {
    showProblems(_("Please check the form."), { media: _("The file is larger than {most}. Cut out the part in question.", { most: sizeOf(limit) }) });
    return;
  }
  request = new XMLHttpRequest();
  request.open("POST", form.action);
  request.setRequestHeader("Accept", "application/json");
  request.upload.addEventListener("progress", (step) => {
    if (!step.lengthComputable) return;
    sent.value = step.loaded / step.total;
    const whole = step.loaded === step.total;
    const percent = Math.round(100 * sent.value);
    sentText.textContent = whole ? (url.value ? _("Fetching the file …") : _("Storing …")) : _("Uploading … {percent} %", { percent });
  });
  request.addEventListener("load", () => {
    let answer = {};
    try {
      answer = JSON.parse(request.responseText);
    } catch {
      answer = { title: _("The server sent an unexpected response. Try again in a moment.") };
    }
    if (request.status === 201) {
      location.assign(answer.location);
      return;
    }
    idle();
    showProblems(answer.title || _("That did not work."), answer.errors || (answer.detail ? { media: answer.detail } : {}));
  });
  request.addEventListener("error", async () => {
    idle();
    try {
      if (file.files[0]) await file.files[0].slice(0, 1).arrayBuffer();
    } catch {
      showProblems(_("Please check the form."), { media: _("The file can no longer be read: it was moved or changed. Choose it again.") });
      return;
    }
    showProblems(_("The connection was lost. Check it and try again."), {});
  });
  request.addEventListener("abort", idle);
  send.hidden = true;
  sending.hidden = false;
  sent.value = 0;
  sentText.textContent = _("Uploading …");
  request.send(new FormData(form));
});
window.addEventListener("pageshow", () => {
  idle();
  showFile(); // the browser gives the file back, but not what the page said of it
});
