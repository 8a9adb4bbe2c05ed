// The screens: home, all titles, a title, the player, logging in, profiles. Each answers with what to show and, where
// something has to happen once it stands on the page, `after`; what `after` returns is called when the viewer leaves.

import { get, post } from "./api.js";
import { cardOf, gridOf, poster, rowOf, rowsOf, surfaceOf } from "./cards.js";
import { explain, h, notice } from "./dom.js";
import { clock, language, local, t } from "./i18n.js";
import { Playback } from "./playback.js";
import { chooseProfile, loadAccount, state } from "./state.js";

const go = (hash) => { location.hash = hash; };
const profile = () => (state.profile ? { profile_id: state.profile.profile_id } : {});

export async function home() {
  if (!state.account) return welcome();
  const page = await get("/api/recommendations", { ...profile(), surface: "home" });
  if (!page.rows.length) return catalogue(new URLSearchParams());
  const hint = page.degraded && h("p", { class: "hint" }, t("degraded"));
  return { nodes: [h("h1", { class: "unseen" }, t("home")), rowsOf(page), hint] };
}

async function welcome() {
  const { items } = await get("/api/media", { limit: 24 });
  const intro = h("section", { class: "welcome" }, h("h1", {}, t("welcome")), h("p", {}, t("welcome_text")),
    h("p", {}, h("a", { class: "button", href: "#/login" }, t("login")), " ",
      h("a", { class: "button quiet", href: "#/register" }, t("register"))));
  return { nodes: [intro, rowOf(t("catalogue"), items.map((card) => cardOf(card)))] };
}

export async function catalogue(query) {
  const filters = { q: query.get("q"), genre: query.get("genre"), ...profile() };
  const [genres, page] = await Promise.all([get("/api/media/genres", profile()), get("/api/media", { ...filters, limit: 48 })]);
  const link = (name, label) => h("a", {
    class: "chip", href: `#/all?${new URLSearchParams(name ? { genre: name } : {})}`,
    "aria-current": (filters.genre ?? "") === name && "true",
  }, label);
  const grid = gridOf(page.items.map((card) => cardOf(card)));
  let cursor = page.next_cursor;
  const more = h("button", { class: "button quiet", hidden: !cursor, onclick: async () => {
    const following = await get("/api/media", { ...filters, limit: 48, cursor });
    grid.append(...following.items.map((card) => h("li", {}, cardOf(card))));
    cursor = following.next_cursor;
    more.hidden = !cursor;
  } }, t("more"));
  return { nodes: [h("h1", {}, filters.q ? `${t("search")}: ${filters.q}` : t("catalogue")),
    h("div", { class: "chips" }, link("", t("all")), genres.slice(0, 14).map(({ genre }) => link(genre, genre))),
    page.items.length ? grid : h("p", { class: "hint" }, t("nothing")), more] };
}

export async function title(id) {
  const found = await get(`/api/media/${encodeURIComponent(id)}`, profile());
  const runtime = found.runtime_s && (found.runtime_s < 120 ? t("seconds", { n: found.runtime_s }) : t("minutes", { n: Math.round(found.runtime_s / 60) }));
  const facts = [found.year, `${found.maturity}+`, runtime, found.genres.join(", "), found.countries.join(", ")];
  const image = poster(found);
  image.classList.add("large");
  const article = h("article", { class: "title" }, image, h("div", { class: "about" },
    h("h1", {}, local(found.titles)), h("p", { class: "facts" }, facts.filter(Boolean).join(" · ")), playButton(found),
    h("p", { class: "synopsis" }, local(found.synopsis)),
    found.people.length > 0 && h("dl", { class: "people" }, found.people.map((person) => [h("dt", {}, person.role), h("dd", {}, person.name)]))));
  const below = h("div");
  const after = async () => {
    const similar = await get(`/api/media/${encodeURIComponent(id)}/similar`, profile()).catch(() => ({ items: [] }));
    const cards = similar.items.map((card) => cardOf(card, { note: t(`reason.${card.reason.code}`, { title: local(found.titles) }) }));
    if (cards.length) below.replaceChildren(rowOf(t("similar"), cards));
  };
  return { nodes: [article, episodes(found), below], after };
}

const isFinished = (item) => item.duration_ms && item.position_ms >= 0.95 * item.duration_ms;

function playButton(found) {
  if (found.refusal === "unauthenticated") return h("p", {}, h("a", { class: "button", href: "#/login" }, t("login")), " ", h("span", { class: "hint" }, t("refusal.unauthenticated")));
  if (found.refusal) return h("p", { class: "refusal" }, t(`refusal.${found.refusal}`));
  const begun = found.position_ms > 0 && !isFinished(found);
  const words = begun ? t("resume", { at: clock(found.position_ms) }) : t(isFinished(found) ? "again" : "play");
  return h("p", {}, h("a", { class: "button play", href: `#/watch/${encodeURIComponent(found.title_id)}` }, words));
}

function episodes(found) {
  const seasons = found.children.filter((child) => child.kind === "season");
  const groups = seasons.length ? seasons.map((season) => [t("season", { n: season.number ?? "" }), season.children]) : [[t(found.children.every((child) => child.kind === "extra") ? "extras" : "episodes"), found.children]];
  return groups.filter(([, list]) => list.length).map(([name, list]) => h("section", { class: "episodes" }, h("h2", {}, name),
    h("ol", {}, list.map((episode) => h("li", {}, h("a", { class: "card wide", href: `#/watch/${encodeURIComponent(episode.title_id)}`, "data-title": episode.title_id },
      poster(episode), h("span", { class: "name" }, `${episode.number ?? ""} ${local(episode.titles)}`.trim()),
      h("span", { class: "facts" }, local(episode.synopsis)),
      episode.position_ms > 0 && h("progress", { max: episode.duration_ms, value: episode.position_ms, "aria-label": clock(episode.position_ms) })))))));
}

/** The player. */
export function watch(id) {
  const video = h("video", { controls: true, playsinline: true, "aria-label": t("play") });
  const badge = h("span", { class: "rung", "aria-hidden": "true" });
  const sounds = h("select", { class: "sounds", "aria-label": t("sound"), hidden: true });
  const skip = h("button", { class: "button skip", hidden: true });
  const panel = h("div", { class: "panel", hidden: true });
  const close = h("button", { class: "close", "aria-label": t("close"), onclick: () => history.length > 1 ? history.back() : go("#/") }, "✕");
  const after = () => start(id, { video, badge, sounds, skip, panel });
  return { nodes: [h("div", { class: "player" }, video, badge, sounds, skip, panel, close)], after };
}

function start(id, { video, badge, sounds, skip, panel }) {
  document.body.classList.add("watching");
  const playback = new Playback(video, surfaceOf(id));
  const timer = setInterval(() => {
    badge.textContent = playback.rung ?? "";
    offerSkip(skip, video, playback);
  }, 250);
  playback.addEventListener("ended", () => offerNext(panel, playback));
  playback.addEventListener("failed", (event) => message(panel, t(`error.${event.detail}`) || t("error.playback")));
  playback.open(id, state.profile?.profile_id).then((session) => {
    if (!session) return;
    offerSounds(sounds, playback);
    video.focus();
    video.play().catch(() => notice(t("press_play")));
  }).catch((refusal) => message(panel, explain(refusal)));
  return () => { clearInterval(timer); playback.close(); document.body.classList.remove("watching"); };
}

/** Over an opening: to its end; over the credits: to the next episode, where there is one. */
function offerSkip(button, video, playback) {
  const marker = playback.marker, following = playback.next;
  const offered = marker?.kind === "intro" || (marker?.kind === "credits" && following) ? marker : null;
  button.hidden = !offered;
  if (!offered || button.dataset.kind === offered.kind) return;
  button.dataset.kind = offered.kind;
  button.textContent = t(offered.kind === "intro" ? "skip_intro" : "next");
  button.onclick = () => {
    if (offered.kind === "intro") video.currentTime = offered.end_ms / 1000;
    else location.replace(`#/watch/${encodeURIComponent(following.title_id)}`);
  };
}

function offerSounds(select, playback) {
  if (playback.sounds.length < 2) return;
  const options = playback.sounds.map((sound, n) => h("option", { value: n, selected: sound === playback.sound }, sound.label));
  select.replaceChildren(...options);
  select.onchange = () => { playback.sound = playback.sounds[select.value]; };
  select.hidden = false;
}

function message(panel, text) {
  const back = h("button", { class: "button quiet", onclick: () => history.back() }, t("back"));
  panel.replaceChildren(h("p", { role: "alert" }, text), back);
  panel.hidden = false;
  back.focus();
}

function offerNext(panel, playback) {
  const following = playback.next;
  // The next episode takes this one's place in the history: closing the player leads back to where the viewer came from.
  const onclick = (event) => { event.preventDefault(); location.replace(event.currentTarget.href); };
  const button = following
    ? h("a", { class: "button", id: "next", href: `#/watch/${encodeURIComponent(following.title_id)}`, onclick }, `${t("next")}: ${local(following.titles)}`)
    : h("a", { class: "button", href: "#/" }, t("home"));
  panel.replaceChildren(h("p", {}, following ? "" : t("the_end")), button);
  panel.hidden = false;
  button.focus();
}

export function login(isNew) {
  const country = navigator.language.split("-")[1]?.toUpperCase();
  const field = (name, label, more) => h("label", {}, label, h("input", { name, required: true, ...more }));
  const error = h("p", { class: "refusal", role: "alert" });
  const form = h("form", { class: "form", onsubmit: async (event) => {
    event.preventDefault();
    const { email, password, country: region } = Object.fromEntries(new FormData(form));
    const body = isNew ? { email, password, language, ...(region ? { country: region.toUpperCase() } : {}) } : { email, password };
    try {
      await post(isNew ? "/api/auth/register" : "/api/auth/login", body);
      await loadAccount({ entered: true });
      go(state.profiles.length > 1 ? "#/profiles" : "#/");
    } catch (refusal) {
      error.textContent = explain(refusal);
    }
  } },
  h("h1", {}, t(isNew ? "register" : "login")),
  field("email", t("email"), { type: "email", autocomplete: "username" }),
  field("password", isNew ? `${t("password")} (${t("password_hint")})` : t("password"), { type: "password", minlength: isNew ? 8 : null, autocomplete: isNew ? "new-password" : "current-password" }),
  isNew && field("country", t("country"), { required: false, maxlength: 2, pattern: "[A-Za-z]{2}", value: /^[A-Z]{2}$/.test(country ?? "") ? country : "" }),
  error, h("button", { class: "button" }, t(isNew ? "register" : "login")),
  h("p", {}, h("a", { href: isNew ? "#/login" : "#/register" }, t(isNew ? "have_account" : "no_account"))));
  return { nodes: [form], after: () => form.elements.email.focus() };
}

export function profiles() {
  const tiles = state.profiles.map((one) => h("li", {}, h("button", {
    class: "card tile", onclick: () => { chooseProfile(one.profile_id); go("#/"); },
  }, h("span", { class: "initial" }, one.name.slice(0, 1).toUpperCase()), h("span", { class: "name" }, one.name), h("span", { class: "facts" }, `${one.maturity}+`))));
  const ages = h("select", { name: "maturity" }, [18, 16, 12, 6, 0].map((age) => h("option", { value: age }, `${age}+`)));
  const form = h("form", { class: "form inline", onsubmit: async (event) => {
    event.preventDefault();
    const { name, maturity } = Object.fromEntries(new FormData(form));
    try {
      await post("/api/profile", { name, maturity: Number(maturity), language });
      await loadAccount();
      dispatchEvent(new HashChangeEvent("hashchange"));
    } catch (refusal) {
      notice(explain(refusal));
    }
  } }, h("label", {}, t("name"), h("input", { name: "name", required: true, maxlength: 60 })), h("label", {}, t("limit"), ages),
  h("button", { class: "button quiet" }, t("add_profile")));
  return { nodes: [h("h1", {}, t("who")), h("ul", { class: "grid tiles" }, tiles), form] };
}
