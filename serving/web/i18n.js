// Words in the languages of the page. Titles and synopses come from the catalogue in their own languages.

import en from "./words.en.js";
import ru from "./words.ru.js";

const WORDS = { en, ru };

export let language = localStorage.getItem("language") || (navigator.language.startsWith("ru") ? "ru" : "en");

export function setLanguage(value) {
  language = WORDS[value] ? value : "en";
  localStorage.setItem("language", language);
  document.documentElement.lang = language;
}

/** The words for a key; `{name}` is filled in from `params`. An unknown key has no words. */
export function t(key, params = {}) {
  const words = WORDS[language][key] ?? "";
  return words.replace(/\{(\w+)\}/g, (_, name) => params[name] ?? "");
}

/** A text of the catalogue in the language of the page, or in whichever it has. */
export function local(texts) {
  return texts?.[language] ?? texts?.en ?? Object.values(texts ?? {})[0] ?? "";
}

export function clock(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  const rest = String(seconds % 60).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

/** A moment as people of this language write it. */
export function moment(text) {
  return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(new Date(text));
}

/** A day as people of this language write it. */
export function day(text) {
  return new Intl.DateTimeFormat(language, { dateStyle: "long" }).format(new Date(text)).replace(/ г\.$/, "");
}

/** A country by its code. */
export const country = (code) => (/^[A-Z]{2}$/.test(code) ? new Intl.DisplayNames([language], { type: "region", fallback: "code" }).of(code) : code);

/** A genre, or what somebody did for a film, in the words of the page where it has some. */
const known = (kind, name) => t(`${kind}.${name.toLowerCase().replace(/\W/g, "_")}`) || name;
export const genre = (name) => known("genre", name);
export const role = (name) => known("role", name);
