// Who is watching: choosing a profile, and making, changing and locking them.

import { call, patch, post, put, remove } from "./api.js";
import { h, notice } from "./dom.js";
import { choice, confirmed, dialog, field, focusFirst, form, pinForm, tick } from "./forms.js";
import { language, t } from "./i18n.js";
import { enter, isGuarded, loadAccount, state } from "./state.js";

const go = (hash) => { location.hash = hash; };
const LIMITS = [18, 16, 12, 6, 0];
const LANGUAGES = [["en", "English"], ["ru", "Русский"]];
const COLOURS = ["#e8a33d", "#d9605b", "#b56bd6", "#5b8def", "#33aa77", "#8f9779"];
const fresh = new Set(); // made on this page and not entered yet: they are asked what they like
const path = (one) => `/api/profile/${encodeURIComponent(one.profile_id)}`;

export function face(profile) {
  const made = h("span", { class: "face", "aria-hidden": "true" }, profile.name.slice(0, 1).toUpperCase());
  made.style.setProperty("--face", profile.colour);
  return made;
}

/** The chooser. */
export function chooser() {
  const editing = location.hash.endsWith("/edit");
  const open = async (one) => {
    if (editing) return go(`#/profile/${encodeURIComponent(one.profile_id)}`);
    if (await enter(one)) go(fresh.delete(one.profile_id) ? "#/onboarding" : "#/");
  };
  const tile = (one) => h("li", {}, h("button", { class: "card tile", "data-profile": one.profile_id, onclick: () => open(one) },
    face(one), h("span", { class: "name" }, one.name),
    h("span", { class: "facts" }, [one.kids && t("kid"), `${one.maturity}+`].filter(Boolean).join(" · ")),
    one.locked && h("span", { class: "badge" }, "🔒", h("span", { class: "unseen" }, t("locked")))));
  const add = h("li", {}, h("a", { class: "card tile", href: "#/profile/new" }, h("span", { class: "face", "aria-hidden": "true" }, "+"), h("span", { class: "name" }, t("add_profile"))));
  const list = h("ul", { class: "grid tiles" }, state.profiles.map(tile), !isGuarded() && add);
  const manage = !isGuarded() && h("p", { class: "middle" }, h("a", { class: "button quiet", href: editing ? "#/profiles" : "#/profiles/edit" }, t(editing ? "done" : "manage")));
  return { nodes: [h("h1", { class: "middle" }, t(editing ? "manage" : "who")), list, manage], after: focusFirst(list) };
}

function colours(chosen) {
  return h("fieldset", { class: "colours" }, h("legend", {}, t("colour")), COLOURS.map((colour, n) => {
    const dot = h("span", { class: "dot", "aria-hidden": "true" });
    dot.style.setProperty("--face", colour);
    return h("label", {}, h("input", { type: "radio", name: "colour", value: colour, checked: colour === chosen, class: "unseen" }), dot, h("span", { class: "unseen" }, `${t("colour")} ${n + 1}`));
  }));
}

/** The editor of a profile, or of a new one. */
export function editor(id) {
  const one = state.profiles.find((profile) => profile.profile_id === id);
  const known = one ?? { name: "", maturity: 18, language, colour: COLOURS[state.profiles.length % COLOURS.length], autoplay: true };
  const spoken = [["", t("as_page")], ...LANGUAGES];
  const made = form([
    h("h1", {}, t(one ? "edit_profile" : "new_profile")),
    field("name", t("name"), { maxlength: 60, value: known.name, autocomplete: "off" }),
    choice("maturity", t("limit"), LIMITS.map((age) => [String(age), `${age}+`]), String(known.maturity)),
    h("p", { class: "hint" }, t("kids_hint")),
    choice("language", t("language"), LANGUAGES, known.language),
    one && choice("audio_language", t("sound_language"), spoken, known.audio_language ?? ""),
    one && choice("subtitle_language", t("subtitles"), [["", t("as_page")], ["off", t("off")], ...LANGUAGES], known.subtitle_language ?? ""),
    tick("autoplay", t("autoplay"), known.autoplay),
    colours(known.colour),
  ], t("save"), async (given) => {
    const body = { name: given.name, maturity: Number(given.maturity), language: given.language, autoplay: given.autoplay === "on", colour: given.colour };
    if (one) await patch(path(one), { ...body, audio_language: given.audio_language || null, subtitle_language: given.subtitle_language || null });
    else fresh.add((await post("/api/profile", body)).profile_id);
    await loadAccount();
    go("#/profiles");
  });
  return { nodes: [made, one && more(one)], after: focusFirst(made) };
}

/** Its PIN, and its end. */
function more(one) {
  const again = () => loadAccount().then(() => dispatchEvent(new HashChangeEvent("hashchange")));
  const lock = h("button", { class: "button quiet", onclick: async () => { if (await setPin(`${path(one)}/pin`)) await again(); } }, t(one.locked ? "change_pin" : "set_pin"));
  const unlock = one.locked && h("button", { class: "button quiet", onclick: async () => { await dropPin(`${path(one)}/pin`); await again(); } }, t("drop_pin"));
  const end = state.profiles.length > 1 && h("button", { class: "button quiet", onclick: async () => {
    if (!await confirmed(t("delete_profile"), t("delete_profile_text"), t("delete"))) return;
    await remove(path(one));
    await loadAccount();
    go("#/profiles");
  } }, t("delete_profile"));
  return h("section", { class: "form" }, h("h2", {}, t("profile_pin")), h("p", { class: "buttons" }, lock, unlock), end && h("p", {}, end));
}

/** Set a PIN (after showing who it is, where that is long ago); whether it was set. */
export async function setPin(address) {
  const done = await dialog(t("set_pin"), (close) => pinForm((pin) => put(address, { pin }), close));
  if (done) notice(t("pin_set"));
  return Boolean(done);
}

export async function dropPin(address) {
  await call("DELETE", address);
  notice(t("pin_gone"));
}
