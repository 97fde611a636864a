// Choosing a person or a shot: one choice for persons, timeline, curves, boxes and gallery.
// Events on document: dfom:person {person: number, "voice" or null for everyone}, dfom:shot {shot: number or null}. Whoever changes the
// choice dispatches; every part, this one too, follows the event.
"use strict";
(() => {
  const list = document.getElementById("persons");
  const gallery = document.getElementById("gallery");
  const everyone = document.getElementById("everyone");
  let person = null;
  let shot = null;

  const tell = (name, detail) => document.dispatchEvent(new CustomEvent(name, { detail }));
  const keyOf = (item) => (item.dataset.person === "voice" ? "voice" : Number(item.dataset.person));

  function showPersons() {
    for (const item of list?.children || []) {
      const is = person !== null && keyOf(item) === person;
      item.classList.toggle("chosen", is);
      item.querySelector(".choose")?.setAttribute("aria-pressed", String(is));
    }
    if (everyone) everyone.hidden = person === null;
  }

  function showPictures() {
    if (!gallery) return;
    let some = false;
    for (const part of gallery.querySelectorAll(".shot")) {
      let any = false;
      for (const figure of part.querySelectorAll("figure")) {
        figure.hidden = typeof person === "number" && Number(figure.dataset.person) !== person;
        any ||= !figure.hidden;
      }
      part.hidden = !any || (shot !== null && Number(part.dataset.shot) !== shot);
      some ||= !part.hidden;
    }
    document.getElementById("gallery-empty").hidden = some;
  }

  document.addEventListener("dfom:person", (event) => {
    person = event.detail.person;
    showPersons();
    showPictures();
  });
  document.addEventListener("dfom:shot", (event) => {
    shot = event.detail.shot ?? null;
    showPictures();
  });
  list?.addEventListener("click", (event) => {
    const item = event.target.closest("li[data-person]");
    const other = event.target.closest("a, summary, details");
    if (!item || other || list.children.length < 2) return;
    tell("dfom:person", { person: keyOf(item) === person ? null : keyOf(item) });
  });
  everyone?.addEventListener("click", () => {
    tell("dfom:person", { person: null });
    tell("dfom:shot", { shot: null });
    list.querySelector(".choose")?.focus();
  });
  if (matchMedia("(max-width: 640px)").matches) {
    for (const part of document.querySelectorAll("details.fold")) part.open = false;
  }
})();
