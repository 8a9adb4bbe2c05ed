// Finding something: the home page, all titles with their facets, a profile's favourites and history, the first picks.

import { get, put, remove } from "./api.js";
import { cardOf, gridOf, rowOf, rowsOf } from "./cards.js";
import { h } from "./dom.js";
import { confirmed } from "./forms.js";
import { clock, country, genre, language, local, moment, t } from "./i18n.js";
import { named, profilePath, state } from "./state.js";
import { telemetry } from "./telemetry.js";

const ENOUGH = 3;
const go = (hash) => { location.hash = hash; };
const again = () => dispatchEvent(new HashChangeEvent("hashchange"));

export async function home() {
  if (!state.account) return welcome();
  const page = await get("/api/recommendations", { ...named(), surface: "home" });
  if (!page.rows.length) return catalogue(new URLSearchParams());
  const hint = page.degraded && h("p", { class: "hint" }, t("degraded"));
  const mine = h("div");
  const after = async () => {
    const { items } = await get(`${profilePath()}/favourites`, { limit: 20 }).catch(() => ({ items: [] }));
    if (items.length) mine.replaceChildren(rowOf(t("favourites"), items.map((item) => cardOf(item))));
  };
  return { nodes: [h("h1", { class: "unseen" }, t("home")), rowsOf(page), mine, hint], after };
}

async function welcome() {
  const { items } = await get("/api/media", { limit: 24 });
  const intro = h("section", { class: "welcome" }, h("h1", {}, t("welcome")), h("p", {}, t("welcome_text")),
    h("p", {}, h("a", { class: "button", href: "#/login" }, t("login")), " ",
      h("a", { class: "button quiet", href: "#/register" }, t("register"))));
  return { nodes: [intro, rowOf(t("catalogue"), items.map((card) => cardOf(card)))] };
}

/** Cards of a list page by page: the grid, and a button for more while there are more. */
function paged(page, load, make) {
  const grid = gridOf(page.items.map(make));
  let cursor = page.next_cursor;
  const more = h("button", { class: "button quiet", hidden: !cursor, onclick: async () => {
    const following = await load(cursor);
    grid.append(...following.items.map((item) => h("li", {}, make(item))));
    cursor = following.next_cursor;
    more.hidden = !cursor;
  } }, t("more"));
  return [grid, more];
}

const CHIPS = ["kind", "genre"]; // one of each in a row of links
const MENUS = ["country", "language", "maturity", "tag"]; // one of each in a menu, where there is something to choose
const SORTS = ["newest", "added", "title"];

const languages = (code) => new Intl.DisplayNames([language], { type: "language", fallback: "code" }).of(code);
const SPOKEN = { kind: (value) => t(`kind.${value}`) || value, genre, country, language: languages, maturity: (value) => `${value}+` };

export async function catalogue(query) {
  const names = ["q", "person", "sort", ...CHIPS, ...MENUS];
  const filters = Object.fromEntries(names.map((name) => [name, query.get(name)]));
  const load = (cursor) => get("/api/media", { ...filters, ...named(), limit: 48, cursor });
  const { kind, ...others } = filters;
  const [counts, page] = await Promise.all([get("/api/media/facets", { ...others, ...named() }), load()]);
  const address = (name, value) => `#/all?${new URLSearchParams(Object.entries({ ...filters, [name]: value }).filter(([, one]) => one))}`;
  const words = (name, value) => (SPOKEN[name] ?? String)(value);
  const chips = CHIPS.filter((name) => filters[name] || counts[name]?.length).map((name) => h("nav", { class: "chips", "aria-label": t(`facet.${name}`) },
    [["", t("all")], ...(counts[name] ?? []).slice(0, 14).map(({ value }) => [value, words(name, value)])].map(([value, label]) =>
      h("a", { class: "chip", href: address(name, value), "aria-current": (filters[name] ?? "") === value && "true" }, label))));
  const menu = (name, options) => h("label", {}, t(`facet.${name}`), h("select", { name, onchange: ({ target }) => go(address(name, target.value)) },
    options.map(([value, label]) => h("option", { value, selected: (filters[name] ?? "") === value }, label))));
  const menus = MENUS.filter((name) => filters[name] || counts[name]?.length > 1).map((name) =>
    menu(name, [["", t("all")], ...(counts[name] ?? []).slice(0, 40).map(({ value, titles }) => [value, `${words(name, value)} (${titles})`])]));
  menus.push(menu("sort", SORTS.map((sort) => [sort === "newest" ? "" : sort, t(`sort.${sort}`)])));
  const heading = filters.q ? `${t("search")}: ${filters.q}` : filters.person ?? t("catalogue");
  return { nodes: [h("h1", {}, heading), chips, h("div", { class: "menus" }, menus),
    page.items.length ? paged(page, load, (card) => cardOf(card)) : h("p", { class: "hint" }, t("nothing"))] };
}

const empty = (words) => [h("p", { class: "hint" }, t(words)), h("p", {}, h("a", { class: "button quiet", href: "#/all" }, t("catalogue")))];

export async function favourites() {
  const load = (cursor) => get(`${profilePath()}/favourites`, { limit: 48, cursor });
  const page = await load();
  return { nodes: [h("h1", {}, t("favourites")), page.items.length ? paged(page, load, (card) => cardOf(card)) : empty("favourites_empty")] };
}

export async function history() {
  const load = (cursor) => get(`${profilePath()}/history`, { limit: 48, cursor });
  const page = await load();
  const make = (item) => {
    const title = [item.kind === "episode" && local(item.root_titles), local(item.titles)].filter(Boolean).join(": ");
    const seen = item.position_ms >= 0.95 * item.duration_ms ? t("watched_whole") : t("watched_to", { at: clock(item.position_ms) });
    const card = cardOf({ ...item, titles: { en: title, ru: title } }, { note: `${moment(item.at)} · ${seen}`, href: `#/title/${encodeURIComponent(item.root_id)}` });
    const forget = h("button", { class: "plain", "aria-label": t("forget_one", { title }), onclick: async () => {
      await remove(`${profilePath()}/history/${encodeURIComponent(item.title_id)}`);
      forget.closest("li").remove();
    } }, t("remove"));
    return h("div", {}, card, forget);
  };
  const all = h("button", { class: "button quiet", onclick: async () => {
    if (!await confirmed(t("forget_all"), t("forget_sure"), t("forget_all"))) return;
    await remove(`${profilePath()}/history`);
    again();
  } }, t("forget_all"));
  return { nodes: [h("h1", {}, t("history")), page.items.length ? [paged(page, load, make), h("p", {}, all)] : empty("history_empty")] };
}

/** What a new profile likes: three picks or more become favourites. */
export async function onboarding() {
  const page = await get("/api/recommendations", { ...named(), surface: "onboarding" });
  const found = page.rows.flatMap((row) => row.items.map((item) => page.titles[item.title_id]));
  if (found.length < ENOUGH) return home();
  const picked = new Set();
  const count = h("span", { role: "status" }, t("picked", { n: 0 }));
  const done = h("button", { class: "button", disabled: true, onclick: async () => {
    await Promise.all([...picked].map((titleId) => favour(titleId, true)));
    await telemetry.flush();
    go("#/");
  } }, t("done"));
  const cards = found.map((title) => {
    const card = cardOf(title);
    const pick = h("button", { class: "card pick", "aria-pressed": "false", "data-title": title.title_id, onclick: () => {
      picked.has(title.title_id) ? picked.delete(title.title_id) : picked.add(title.title_id);
      pick.setAttribute("aria-pressed", String(picked.has(title.title_id)));
      count.textContent = t("picked", { n: picked.size });
      done.disabled = picked.size < ENOUGH;
    } }, ...card.childNodes);
    return pick;
  });
  return { nodes: [h("h1", {}, t("onboarding")), h("p", { class: "hint" }, t("onboarding_text")), gridOf(cards),
    h("p", { class: "buttons foot" }, done, h("a", { class: "button quiet", href: "#/" }, t("later")), count)] };
}

/** Keep a title as a favourite, or not any more; recommendations hear of it too. */
export async function favour(titleId, on) {
  const address = `${profilePath()}/favourites/${encodeURIComponent(titleId)}`;
  await (on ? put(address) : remove(address));
  telemetry.note("favourite", { title_id: titleId, data: { on } });
}
