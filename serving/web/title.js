// A title's page: what it is, playing it or what would help, what the profile says of it, its episodes, what is like it.

import { get, put, remove } from "./api.js";
import { favour } from "./browse.js";
import { cardOf, poster, rowOf } from "./cards.js";
import { h } from "./dom.js";
import { clock, country, genre, language, local, role, t } from "./i18n.js";
import { isGuarded, named, profilePath, state } from "./state.js";
import { telemetry } from "./telemetry.js";

const STARS = [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5];

export async function title(id) {
  const found = await get(`/api/media/${encodeURIComponent(id)}`, named());
  const runtime = found.runtime_s && (found.runtime_s < 120 ? t("seconds", { n: found.runtime_s }) : t("minutes", { n: Math.round(found.runtime_s / 60) }));
  const facts = [found.year, `${found.maturity}+`, runtime, found.genres.map(genre).join(", "), found.countries.map(country).join(", ")];
  const image = poster(found);
  image.classList.add("large");
  const mine = state.profile && h("div", { class: "mine" });
  const article = h("article", { class: "title" }, image, h("div", { class: "about" },
    h("h1", {}, local(found.titles)), h("p", { class: "facts" }, facts.filter(Boolean).join(" · ")), playButton(found), mine,
    h("p", { class: "synopsis" }, local(found.synopsis)),
    found.people.length > 0 && h("dl", { class: "people" }, found.people.map((person) => [h("dt", {}, role(person.role)), h("dd", {}, h("a", { href: `#/all?${new URLSearchParams({ person: person.name })}` }, person.name))]))));
  const below = h("div");
  const after = async () => {
    if (state.profile) get(`${profilePath()}/titles/${encodeURIComponent(id)}`).then((said) => mine.replaceChildren(heart(id, said.favourite), ...stars(id, said.rating))).catch(() => {});
    const similar = await get(`/api/media/${encodeURIComponent(id)}/similar`, named()).catch(() => ({ items: [] }));
    const cards = similar.items.map((card) => cardOf(card, { note: t(`reason.${card.reason.code}`, { title: local(found.titles) }) }));
    if (cards.length) below.replaceChildren(rowOf(t("similar"), cards));
  };
  return { nodes: [article, episodes(found), below], after };
}

const isFinished = (item) => item.duration_ms && item.position_ms >= 0.95 * item.duration_ms;

function playButton(found) {
  if (found.refusal === "unauthenticated") return h("p", {}, h("a", { class: "button", href: "#/login" }, t("login")), " ", h("span", { class: "hint" }, t("refusal.unauthenticated")));
  if (found.refusal) return [h("p", { class: "refusal" }, t(`refusal.${found.refusal}`)), offersOf(found, found.title_id)];
  const begun = found.position_ms > 0 && !isFinished(found);
  const words = begun ? t("resume", { at: clock(found.position_ms) }) : t(isFinished(found) ? "again" : "play");
  return h("p", {}, h("a", { class: "button play", href: `#/watch/${encodeURIComponent(found.title_id)}` }, words));
}

/** What would open a title that is refused for want of a right: plans to choose, or to rent or buy it. */
export function offersOf({ refusal, code, offers = [] }, id) {
  if (!["plan", "rental"].includes(refusal ?? code) || !offers?.length) return null;
  const price = (offer) => offer.price && new Intl.NumberFormat(language, { style: "currency", currency: offer.currency ?? "EUR" }).format(offer.price);
  const plans = offers.filter((offer) => offer.kind === "subscription").flatMap((offer) => offer.plans);
  const address = { subscription: `#/plans?${new URLSearchParams({ title: id, plans })}`, rent: `#/checkout?${new URLSearchParams({ title: id, kind: "rent" })}`,
    buy: `#/checkout?${new URLSearchParams({ title: id, kind: "buy" })}` };
  const shown = offers.filter((offer, n) => offers.findIndex((other) => other.kind === offer.kind) === n);
  const words = (offer) => (offer.kind === "subscription" ? t("choose_plan") : t(`offer.${offer.kind}`, { price: price(offer) ?? "" }));
  return h("section", { class: "offers", "aria-label": t("offers") }, h("h2", {}, t("offers")), h("ul", { class: "buttons" }, shown.map((offer) =>
    h("li", {}, address[offer.kind] && !isGuarded() ? h("a", { class: "button", href: address[offer.kind] }, words(offer)) : words(offer)))));
}

function heart(id, chosen) {
  let on = chosen;
  const button = h("button", { class: "button quiet heart", onclick: async () => {
    await favour(id, !on);
    on = !on;
    draw();
  } });
  const draw = () => {
    button.textContent = `${on ? "♥" : "♡"} ${t(on ? "unfavour" : "favour")}`;
    button.setAttribute("aria-pressed", String(on));
  };
  draw();
  return button;
}

/** Ten half stars as one group of radio buttons: arrow keys choose. */
function stars(id, chosen) {
  const address = `${profilePath()}/ratings/${encodeURIComponent(id)}`;
  const drop = h("button", { class: "plain", hidden: !chosen, onclick: async () => {
    await remove(address);
    group.querySelectorAll("input").forEach((input) => { input.checked = false; });
    paint(0);
  } }, t("unrate"));
  const rate = async (value) => {
    await put(address, { value });
    telemetry.note("rate", { title_id: id, data: { value } });
    paint(value);
  };
  const group = h("fieldset", { class: "stars" }, h("legend", {}, t("rating")), STARS.map((value) => h("label", {},
    h("input", { type: "radio", name: "stars", value, class: "unseen", checked: value === chosen, onchange: () => rate(value) }),
    h("span", { class: Number.isInteger(value) ? "half right" : "half", "data-value": value, "aria-hidden": "true" }, "★"), h("span", { class: "unseen" }, t("stars", { n: value })))));
  const paint = (value) => {
    group.querySelectorAll(".half").forEach((half) => half.classList.toggle("lit", Number(half.dataset.value) <= value));
    drop.hidden = !value;
  };
  paint(chosen ?? 0);
  return [group, drop];
}

function episodes(found) {
  const seasons = found.children.filter((child) => child.kind === "season");
  const others = found.children.filter((child) => child.kind !== "season");
  const groups = seasons.map((season) => [t("season", { n: season.number ?? "" }), season.children]);
  groups.push([t("episodes"), others.filter((child) => child.kind !== "extra")], [t("extras"), others.filter((child) => child.kind === "extra")]);
  return groups.filter(([, list]) => list.length).map(([name, list]) => h("section", { class: "episodes" }, h("h2", {}, name),
    h("ol", {}, list.map((episode) => h("li", {}, h("a", { class: "card wide", href: `#/watch/${encodeURIComponent(episode.title_id)}`, "data-title": episode.title_id },
      poster(episode), h("span", { class: "name" }, `${episode.number ?? ""} ${local(episode.titles)}`.trim()),
      h("span", { class: "facts" }, local(episode.synopsis)),
      episode.position_ms > 0 && h("progress", { max: episode.duration_ms, value: episode.position_ms, "aria-label": clock(episode.position_ms) })))))));
}
