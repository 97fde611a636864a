// The progress of one submission, asked for every two seconds. Without this script the page reloads itself.
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
  const bars = byId("bars");
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

async function ask() {
  try {
    const answer = await fetch(live.dataset.status, { headers: { Accept: "application/json" } });
    if (answer.ok) {
      const view = await answer.json();
      if (view.final) {
        location.reload();
        return;
      }
      show(view);
      pause = 2000;
    } else if (answer.status === 404 || answer.status === 410) {
      location.reload();
      return;
    } else {
      pause = Math.min(30000, pause * 2);
    }
  } catch {
    pause = Math.min(30000, pause * 2);
  }
  setTimeout(ask, pause);
}

const copy = byId("copy");
if (copy && navigator.clipboard) {
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(byId("link").value);
    copy.textContent = "Copied";
  });
}
if (live.dataset.final === "no") setTimeout(ask, pause);
