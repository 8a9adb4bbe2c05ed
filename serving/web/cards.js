// Cards, rows and grids of titles; a card that comes into sight is an impression.

import { h } from "./dom.js";
import { local, t } from "./i18n.js";
import { telemetry } from "./telemetry.js";

const seen = new WeakMap();
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    watcher.unobserve(entry.target);
    telemetry.note("impression", seen.get(entry.target));
  }
}, { threshold: 0.6 });

function hue(text) {
  let sum = 7;
  for (const letter of text) sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return sum;
}

export function poster(card) {
  const tile = h("div", { class: "poster" }, h("span", { class: "initial", "aria-hidden": "true" }, local(card.titles).slice(0, 1)));
  tile.style.setProperty("--hue", hue(card.title_id));
  if (card.poster) {
    const image = h("img", { src: card.poster, alt: "", loading: "lazy", decoding: "async" });
    image.addEventListener("error", () => image.remove());
    tile.append(image);
  }
  return tile;
}

/** A card; `place` says where it stands and what put it there. */
export function cardOf(card, { note = "", place = null, experiments = {}, href = null } = {}) {
  const facts = [card.year, `${card.maturity}+`].filter(Boolean).join(" · ");
  const link = h("a", { class: "card", href: href ?? `#/title/${encodeURIComponent(card.title_id)}`, "data-title": card.title_id },
    poster(card),
    !card.playable && h("span", { class: "badge" }, t("not_playable_badge")),
    h("span", { class: "name" }, local(card.titles)),
    h("span", { class: "facts" }, note || facts));
  if (place) {
    link.addEventListener("click", () => sessionStorage.setItem(`surface:${card.title_id}`, JSON.stringify({ surface: place, experiments })));
    seen.set(link, { title_id: card.title_id, surface: place, experiments });
    watcher.observe(link);
  }
  return link;
}

/** How the page came to show this title: for the events of its playback. */
export function surfaceOf(titleId) {
  return JSON.parse(sessionStorage.getItem(`surface:${titleId}`) ?? "{}");
}

export function rowOf(title, cards) {
  const heading = h("h2", {}, title);
  return h("section", { class: "row", "aria-label": title }, heading, h("ul", { class: "strip" }, cards.map((card) => h("li", {}, card))));
}

export const gridOf = (cards) => h("ul", { class: "grid" }, cards.map((card) => h("li", {}, card)));

// What a row's heading says already, or what says nothing about this viewer, is not repeated below every card.
const SILENT = new Set(["popular_now", "new"]);

function reasonText(reason, titles) {
  if (SILENT.has(reason.code)) return "";
  const title = local(titles[reason.params?.title_id]?.titles);
  if (["because_you_watched", "similar_content"].includes(reason.code) && !title) return t("reason.picked");
  return t(`reason.${reason.code}`, { title }) || t("reason.picked");
}

/** The rows of a home page. */
export function rowsOf(home) {
  return home.rows.map((row) => rowOf(local(row.title), row.items.map((item, position) => cardOf(home.titles[item.title_id], {
    note: reasonText(item.reason, home.titles),
    experiments: item.experiments,
    href: row.id === "continue" ? `#/watch/${encodeURIComponent(item.title_id)}` : null,
    place: {
      row: row.id, position, model: home.model?.name ?? null, version: home.model?.version ?? null,
      propensity: item.propensity, source: item.source, request_id: home.request_id,
    },
  }))));
}
