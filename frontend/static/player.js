// The player of a result: boxes over the clip, single frames, speed, brightness and contrast, keys.
// Listens on document for dfom:seek {time_s} and dfom:person {person: number, "voice" or null}; dispatches dfom:time {time_s}.
"use strict";
(() => {
  const PARTS = 10000; // boxes.json: corners are parts of the picture's width and height
  const NEAR_S = 0.002; // times of boxes are rounded to a millisecond
  const byId = (name) => document.getElementById(name);
  // seconds of the submitted clip's own clock before its first picture, which is our time 0: its sound may begin first
  const begins = (medium) => (/\/original(#|$)/.test(medium.currentSrc) ? Number(medium.dataset.begins || 0) : 0);
  const clipTime = (medium, time = medium.currentTime) => Math.max(0, time - begins(medium));
  window.dfomClock = { begins, clipTime }; // for timeline.js, which is loaded after this
  let boxes = null;
  let chosen = null;

  // ---------------------------------------------------------------- boxes

  async function loadBoxes(place, video) {
    const answer = await fetch(place.dataset.boxes, { headers: { Accept: "application/json" } });
    if (!answer.ok) return;
    const data = await answer.json();
    const tracks = new Map();
    data.faces.forEach((face, row) => {
      const key = face[2] < 0 ? `row ${row}` : `${face[1]}/${face[2]}`;
      if (!tracks.has(key)) tracks.set(key, []);
      tracks.get(key).push(face);
    });
    boxes = { ...data, tracks: [...tracks.values()], step: data.hold_s / 2.5 };
    draw(place, video, clipTime(video));
  }

  // the last face of a track at or before a time
  function lastBefore(track, time) {
    let low = 0;
    let high = track.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (track[middle][0] <= time + NEAR_S) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  function shownAt(time) {
    const found = [];
    for (const track of boxes.tracks) {
      const place = lastBefore(track, time);
      if (place < 0) continue;
      const [face, next] = [track[place], track[place + 1]];
      const joins = next && next[0] - face[0] <= boxes.hold_s;
      if (!joins && time - face[0] > boxes.step + NEAR_S) continue;
      const share = joins ? Math.max(0, (time - face[0]) / (next[0] - face[0])) : 0;
      const corners = [3, 4, 5, 6].map((at) => face[at] + (joins ? share * (next[at] - face[at]) : 0));
      found.push({ person: face[2], corners, level: face[7], words: boxes.words[face[8]] });
    }
    return found;
  }

  function draw(place, video, time) {
    if (!boxes || !isOriginal(video)) return;
    const found = shownAt(time);
    while (place.children.length < found.length) place.append(document.createElement("div"));
    while (place.children.length > found.length) place.lastChild.remove();
    found.forEach((face, at) => {
      const box = place.children[at];
      const [x1, y1, x2, y2] = face.corners.map((part) => (100 * part) / PARTS);
      box.className = `box level-${face.level}`;
      box.classList.toggle("other", chosen !== null && face.person !== chosen);
      Object.assign(box.style, { left: `${x1}%`, top: `${y1}%`, width: `${x2 - x1}%`, height: `${y2 - y1}%` });
      box.dataset.person = face.person;
      box.classList.toggle("below", y1 < 8);
      const label = box.firstChild || box.appendChild(document.createElement("span"));
      const who = face.person >= 0 ? `${face.person + 1}: ` : "";
      if (label.textContent !== who + face.words) label.textContent = who + face.words;
    });
    place.dataset.drawn = time.toFixed(3);
  }

  // the boxes lie over the picture, not over the bars beside it
  function fit(place, video) {
    const [width, height] = [video.clientWidth, video.clientHeight];
    const scale = Math.min(width / video.videoWidth, height / video.videoHeight);
    if (!Number.isFinite(scale)) return;
    const [wide, high] = [scale * video.videoWidth, scale * video.videoHeight];
    Object.assign(place.style, {
      left: `${video.offsetLeft + (width - wide) / 2}px`, top: `${video.offsetTop + (height - high) / 2}px`,
      width: `${wide}px`, height: `${high}px`,
    });
  }

  function follow(place, video) {
    const again = () => draw(place, video, clipTime(video));
    if (video.requestVideoFrameCallback) {
      const each = (_, frame) => {
        draw(place, video, clipTime(video, frame.mediaTime));
        video.requestVideoFrameCallback(each);
      };
      video.requestVideoFrameCallback(each);
    } else {
      const each = () => {
        again();
        if (!video.paused) requestAnimationFrame(each);
      };
      video.addEventListener("play", each);
    }
    video.addEventListener("seeked", again);
    video.addEventListener("loadedmetadata", () => fit(place, video));
    new ResizeObserver(() => fit(place, video)).observe(video);
    fit(place, video);
    loadBoxes(place, video);
  }

  // ---------------------------------------------------------------- what is played

  const isOriginal = (video) => !boxesPlace() || /\/original(#|$)/.test(video.currentSrc);
  const boxesPlace = () => document.querySelector("div#boxes");

  function playRendered(video) {
    const original = video.querySelector("[data-original]");
    if (!original) return;
    if (video.querySelectorAll("source").length < 2) {
      const words = byId("cannot-play");
      if (words) words.hidden = false;
      return;
    }
    original.remove();
    video.load();
  }

  function checkSource(video) {
    if (video.querySelector("[data-original]") && /\/original(#|$)/.test(video.currentSrc) && !video.videoWidth) {
      playRendered(video); // its sound alone would play
      return;
    }
    if (!boxesPlace() || isOriginal(video)) return;
    video.removeAttribute("width");
    video.removeAttribute("height");
    for (const [name, hidden] of [["boxes", true], ["boxes-key", true], ["rendered-instead", false]]) {
      const part = byId(name);
      if (part) part.hidden = hidden;
    }
  }

  // ---------------------------------------------------------------- tools

  function step(video, frames) {
    video.pause();
    const length = 1 / Number(byId("tools").dataset.fps);
    const frame = Math.floor(clipTime(video) / length + 0.01) + frames;
    video.currentTime = Math.min(begins(video) + Math.max(0, (frame + 0.5) * length), video.duration || Infinity);
  }

  function bindTools(player, video) {
    const picture = video || byId("picture");
    const light = () => {
      picture.style.filter = `brightness(${byId("brightness").value}) contrast(${byId("contrast").value})`;
    };
    for (const name of ["brightness", "contrast"]) byId(name)?.addEventListener("input", light);
    if (!video) return;
    byId("frame-back").addEventListener("click", () => step(video, -1));
    byId("frame-on").addEventListener("click", () => step(video, 1));
    byId("speed").addEventListener("change", (event) => { video.playbackRate = Number(event.target.value); });
    const keys = {
      k: () => (video.paused ? video.play() : video.pause()),
      ",": () => step(video, -1),
      ".": () => step(video, 1),
      j: () => { video.currentTime -= 1; },
      l: () => { video.currentTime += 1; },
      b: () => byId("show-boxes")?.click(),
    };
    player.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || event.target.tagName === "SELECT" || !keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
  }

  // ---------------------------------------------------------------- begin

  function begin() {
    const player = byId("player");
    if (!player || player.dataset.bound) return;
    player.dataset.bound = "yes";
    const video = byId("video");
    const medium = video || byId("listen");
    if (byId("tools")) bindTools(player, video);
    player.addEventListener("click", (event) => {
      const face = event.target.closest("#stage [data-person]");
      if (!face || Number(face.dataset.person) < 0) return;
      const person = Number(face.dataset.person);
      document.dispatchEvent(new CustomEvent("dfom:person", { detail: { person: person === chosen ? null : person } }));
    });
    medium?.addEventListener("timeupdate", () => {
      document.dispatchEvent(new CustomEvent("dfom:time", { detail: { time_s: clipTime(medium) } }));
    });
    if (!video) return;
    video.addEventListener("error", () => playRendered(video));
    const last = [...video.querySelectorAll("source")].pop();
    if (last?.matches("[data-original]")) last.addEventListener("error", () => playRendered(video));
    // the state is the same before the browser has looked at the sources and after all of them failed: look again later
    const lost = () => video.networkState === HTMLMediaElement.NETWORK_NO_SOURCE;
    if (lost()) setTimeout(() => lost() && playRendered(video), 1000);
    video.addEventListener("loadedmetadata", () => checkSource(video));
    if (video.readyState) checkSource(video);
    const place = boxesPlace();
    if (place) follow(place, video);
  }

  document.addEventListener("dfom:seek", (event) => {
    const medium = byId("video") || byId("listen");
    if (!medium) return;
    medium.currentTime = begins(medium) + event.detail.time_s;
    if (!event.detail.still) medium.scrollIntoView({ block: "nearest" }); // still: by keys, whose focus is elsewhere
  });
  document.addEventListener("dfom:person", (event) => {
    chosen = typeof event.detail.person === "number" ? event.detail.person : null;
    for (const mark of document.querySelectorAll("#stage svg.boxes g")) {
      mark.classList.toggle("other", chosen !== null && Number(mark.dataset.person) !== chosen);
    }
    const [place, video] = [boxesPlace(), byId("video")];
    if (place && video) draw(place, video, clipTime(video));
  });
  document.addEventListener("video-ready", begin);
  begin();
})();
