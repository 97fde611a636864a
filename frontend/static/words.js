// The texts of our scripts in the visitor's language. WORDS comes before this: {texts, signs} (frontend/languages.py).
"use strict";

// _("{name} is ready", {name: "x"}): a text in the visitor's language with its named values.
function _(text, values = {}) {
  const said = WORDS.texts[text] ?? text;
  return said.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// ngettext("{n} face", "{n} faces", 3): the form for a number, which is {n} in it.
function ngettext(singular, plural, number, values = {}) {
  const forms = WORDS.texts[singular] ?? {};
  const said = forms[new Intl.PluralRules(document.documentElement.lang).select(number)] ?? (number === 1 ? singular : plural);
  return said.replace(/\{(\w+)\}/g, (whole, name) => (name === "n" ? signs(String(number)) : values[name] ?? whole));
}

// signs("0.85"): a number as scripts write it, with the decimal sign of the visitor's language.
function signs(number) {
  return String(number).replace(/[.,]/g, (sign) => WORDS.signs[sign]);
}
