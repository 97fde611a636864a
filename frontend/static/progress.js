// The progress of one submission: pushed by the server, or asked for every two seconds. Without this script the page reloads itself.
"use strict";
const live = document.getElementById("live");
const byId = (id) => document.getElementById(id);
let pause = 2000;

function row(item) {
  const line = document.createElement("li");
  line.dataset.state = item.state;
  for (const [name, text] of [["name", item.title], ["state", item.words]]) {
    const part = document.createElement("span");
    part.className = name;
    part.textContent = text;
    line.append(part);
  }
  const bar = document.createElement("progress");
  bar.max = 1;
  bar.value = item.share;
  bar.setAttribute("aria-label", item.title);
  const note = document.createElement("span");
  note.className = "note";
  note.textContent = item.note;
  line.append(bar, note);
  return line;
}

function show(view) {
  if (byId("headline").textContent !== view.headline) byId("headline").textContent = view.headline;
  byId("detail").textContent = view.detail;
  byId("overall").value = view.progress;
  byId("percent").textContent = view.percent + " %";
  document.title = (view.state === "working" ? view.percent + " % – " : "") + view.headline + " – DeepFake-o-meter";
  for (const step of byId("stages").children) {
    if (step.dataset.stage === view.stage) step.setAttribute("aria-current", "step");
    else step.removeAttribute("aria-current");
  }
  if (!view.detectors) return; // they are shown with the PIN only
  const bars = byId("bars");
  bars.hidden = !view.detectors.length;
  if (bars.children.length !== view.detectors.length) {
    bars.replaceChildren(...view.detectors.map(row));
    return;
  }
  view.detectors.forEach((item, index) => {
    const line = bars.children[index];
    line.dataset.state = item.state;
    line.querySelector(".state").textContent = item.words;
    line.querySelector("progress").value = item.share;
    line.querySelector(".note").textContent = item.note;
  });
}

// Another page waits behind this address: the PIN form, the reason for a failure, or that all is deleted.
function leave() {
  location.reload();
}

async function ask() {
  try {
    const answer = await fetch(live.dataset.status, { headers: { Accept: "application/json" } });
    if (answer.ok) {
      const view = await answer.json();
      if (view.final) return leave();
      show(view);
      pause = 2000;
    } else if (answer.status === 404 || answer.status === 410) {
      return leave();
    } else {
      pause = Math.min(30000, pause * 2);
    }
  } catch {
    pause = Math.min(30000, pause * 2);
  }
  setTimeout(ask, pause);
}

// The server pushes each change while it has room for one more stream, and the browser opens the next stream when one ends. Without room
// (204), or after a failure, we ask for the progress now and then.
function listen() {
  const events = new EventSource(live.dataset.events);
  events.addEventListener("progress", (event) => {
    const view = JSON.parse(event.data);
    live.dataset.live = "events";
    if (view.final) {
      events.close();
      leave();
    } else show(view);
  });
  events.addEventListener("error", () => {
    if (events.readyState !== EventSource.CLOSED) return;
    live.dataset.live = "asking";
    ask();
  });
  addEventListener("pagehide", () => events.close());
}

const copy = byId("copy");
if (copy && navigator.clipboard) {
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(byId("link").value);
    copy.textContent = _("Copied");
  });
}
if (live.dataset.final === "no") {
  if ("EventSource" in window) listen();
  else setTimeout(ask, pause);
}
