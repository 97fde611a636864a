// The video of a result that is shown already: asked for every two seconds; when it is there, the parts it belongs to are renewed.
"use strict";
let followPause = 2000;

async function renew() {
  const answer = await fetch(location.pathname, { headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const parts = [...page.querySelectorAll("[data-follows]")];
  if (!parts.length) {
    document.getElementById("video-wait").textContent =
      answer.status === 410 ? _("This result was deleted.") : _("The video is ready. Reload this page and enter your PIN again to see it.");
    return true;
  }
  if (page.getElementById("follows")) return false;
  for (const part of parts) {
    const medium = document.querySelector("#video, #listen");
    if (part.dataset.follows === "video" && medium?.readyState > 0) continue; // the submitted clip plays on
    document.querySelector(`[data-follows=${part.dataset.follows}]`).replaceWith(document.adoptNode(part));
  }
  const hint = document.getElementById("click-hint");
  if (hint) hint.hidden = !document.getElementById("video");
  document.dispatchEvent(new Event("video-ready"));
  return true;
}

async function follow() {
  try {
    const answer = await fetch(document.getElementById("follows").dataset.status, { headers: { Accept: "application/json" } });
    const over = answer.ok ? (await answer.json()).video !== "pending" : answer.status === 404 || answer.status === 410;
    if (over && (await renew())) return;
    followPause = answer.ok ? 2000 : Math.min(30000, followPause * 2);
  } catch {
    followPause = Math.min(30000, followPause * 2);
  }
  setTimeout(follow, followPause);
}

setTimeout(follow, followPause);
